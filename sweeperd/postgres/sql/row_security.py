"""SQL on the policies of tables. Constants."""

from __future__ import annotations

from typing import Final

# what decides which rows a SELECT shows and a DELETE takes
POLICIES: Final = """
SELECT p.polqual::text AS tree FROM pg_policy p
WHERE p.polrelid = ANY ($1::bigint[]::oid[]) AND p.polcmd IN ('*', 'r', 'd', 'w')
  AND p.polqual IS NOT NULL
"""
