"""SQL on who may create objects in a schema, and whom a sweep trusts with that. Constants."""

from __future__ import annotations

from typing import Final

# Who could have the table's rows anyway, and the sweeping role itself. $1 is the table.
_TRUSTED: Final = """
WITH anchors AS (
    SELECT oid FROM pg_roles WHERE rolsuper OR rolname IN (current_user, 'pg_database_owner')
    UNION SELECT datdba FROM pg_database WHERE datname = current_database()
    UNION SELECT c.relowner FROM pg_class c WHERE c.oid = $1::bigint::oid
    UNION SELECT n.nspowner FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid
          WHERE c.oid = $1::bigint::oid
), trusted AS (
    SELECT r.oid, r.rolname AS name, EXISTS (
        SELECT FROM anchors a WHERE pg_has_role(r.oid, a.oid, 'MEMBER')) AS trusted
    FROM pg_roles r
)
"""

# $2: names of schemas. PUBLIC has no entry among the roles.
SCHEMAS: Final = f"""
{_TRUSTED}
SELECT n.nspname AS name, n.nspowner::bigint AS owner, o.name AS owner_name,
       coalesce(o.trusted, false) AS owner_trusted,
       ARRAY(
           SELECT DISTINCT CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(t.name) END
           FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) g
           LEFT JOIN trusted t ON t.oid = g.grantee
           WHERE g.privilege_type = 'CREATE' AND g.grantee <> n.nspowner
             AND t.trusted IS NOT TRUE ORDER BY 1) AS strangers
FROM pg_namespace n LEFT JOIN trusted o ON o.oid = n.nspowner
WHERE n.nspname = ANY ($2::text[])
"""

# $2: OIDs of roles
STRANGERS: Final = f"""
{_TRUSTED}
SELECT oid::bigint AS oid, name FROM trusted
WHERE NOT trusted AND oid = ANY ($2::bigint[]::oid[])
"""

RELATIONS: Final = """
SELECT c.relname AS name, n.nspname AS schema, c.relowner::bigint AS owner
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY ($1::bigint[]::oid[])
"""
