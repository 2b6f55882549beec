"""What of the real stores expires: the truth that `discover` is measured by."""

from __future__ import annotations

from typing import Final

# store -> tables of which rows expire, by the project or by their own column
EXPIRING: Final[dict[str, tuple[str, ...]]] = {
    "authelia": ("identity_verification", "one_time_code", "banned_user", "banned_ip"),
    "authjs-nextauth": ("sessions", "verification_token"),
    "better-auth": ("session", "verification"),
    "connect-pg-simple": ("session",),
    "django-allauth": ("account_emailconfirmation",),
    "django-auditlog": ("auditlog_logentry",),
    "django-axes": ("axes_accessattempt", "axes_accesslog", "axes_accessattemptexpiration"),
    "django-cache": ("django_cache_table",),
    "django-celery-results": (
        "django_celery_results_taskresult",
        "django_celery_results_groupresult",
    ),
    "django-oauth-toolkit": (
        "oauth2_provider_refreshtoken",
        "oauth2_provider_accesstoken",
        "oauth2_provider_idtoken",
        "oauth2_provider_grant",
        "oauth2_provider_devicegrant",
    ),
    "django-sessions": ("django_session",),
    "django-silk": ("silk_request",),
    "drf-simplejwt-blacklist": (
        "token_blacklist_outstandingtoken",
        "token_blacklist_blacklistedtoken",
    ),
    "flask-session": ("sessions",),
    "good-job": ("good_jobs", "good_job_executions", "good_job_batches"),
    "gorilla-pgstore": ("http_sessions",),
    "keycloak-offline-session": ("offline_user_session", "offline_client_session"),
    "laravel-cache": ("cache",),
    "laravel-queue": ("failed_jobs", "job_batches"),
    "laravel-sanctum": ("personal_access_tokens",),
    "laravel-sessions": ("sessions",),
    "oban": ("oban_jobs",),
    "ory-hydra": (
        "hydra_oauth2_access",
        "hydra_oauth2_refresh",
        "hydra_oauth2_code",
        "hydra_oauth2_oidc",
        "hydra_oauth2_pkce",
        "hydra_oauth2_jti_blacklist",
        "hydra_oauth2_device_auth_codes",
        "hydra_oauth2_authentication_session",
        "hydra_oauth2_logout_request",
        "hydra_oauth2_flow",
    ),
    "pgmq": ("a_my_queue",),
    "pgqueuer": ("pgqueuer_log",),
    "procrastinate": ("procrastinate_jobs",),
    "rails-activerecord-session-store": ("sessions",),
    "river": ("river_job",),
    "scs-postgresstore": ("sessions",),
    "solid-cache": ("solid_cache_entries",),
    "solid-queue": ("solid_queue_jobs",),
    "spring-session": ("spring_session",),
    "symfony-pdo-session": ("sessions",),
    "tower-sessions": ("session",),
}
