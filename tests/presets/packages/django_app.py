"""Runs in the tests' own venv: Django, OAuth Toolkit, Simple JWT and Celery's results at work."""

from __future__ import annotations

import sys
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import django
from django.conf import settings
from django.core.management import call_command

url = urlsplit(sys.argv[2])
query = parse_qs(url.query)
settings.configure(
    SECRET_KEY="x" * 50,
    USE_TZ=True,
    TIME_ZONE="America/New_York",
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": url.path[1:],
            "USER": url.username,
            "HOST": query["host"][0],
            "PORT": query["port"][0],
        }
    },
    CACHES={
        "default": {
            "BACKEND": "django.core.cache.backends.db.DatabaseCache",
            "LOCATION": "django_cache_table",
        }
    },
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "oauth2_provider",
        "rest_framework_simplejwt.token_blacklist",
        "django_celery_results",
    ],
)
django.setup()

from django.contrib.auth.models import User  # noqa: E402 - Django must be set up first
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.contrib.sessions.models import Session  # noqa: E402
from django.core.cache import cache  # noqa: E402
from django.utils import timezone  # noqa: E402
from django_celery_results.models import TaskResult  # noqa: E402
from oauth2_provider import models as oauth  # noqa: E402
from rest_framework_simplejwt.token_blacklist.models import (  # noqa: E402
    BlacklistedToken,
    OutstandingToken,
)
from rest_framework_simplejwt.tokens import RefreshToken  # noqa: E402


def write() -> None:
    call_command("migrate", verbosity=0)
    call_command("createcachetable")
    user = User.objects.create_user("u")
    for number in range(20):
        hours = timedelta(hours=number - 10, minutes=30)
        session = SessionStore()
        session["n"] = number
        session.set_expiry(timezone.now() + hours)
        session.save()
        cache.set(f"k{number}", number, timeout=hours.total_seconds() if number > 10 else None)
        token = RefreshToken.for_user(user)
        token.set_exp(lifetime=hours)
        found = OutstandingToken.objects.get(jti=token["jti"])
        found.expires_at = timezone.now() + hours
        found.save()
        if number % 3 == 0:
            BlacklistedToken.objects.create(token=found)
        _oauth(user, number, hours)
        TaskResult.objects.store_result("application/json", "utf-8", f"t{number}", "1", "S")
        TaskResult.objects.filter(task_id=f"t{number}").update(
            date_done=timezone.now() - timedelta(hours=3 * number + 1)
        )


def _oauth(user: User, number: int, hours: timedelta) -> None:
    application, _ = oauth.Application.objects.get_or_create(
        name="a", user=user, client_type="public", authorization_grant_type="password"
    )
    access = oauth.AccessToken.objects.create(
        user=user,
        application=application,
        token=f"a{number}",
        expires=timezone.now() + hours,
        scope="",
    )
    oauth.Grant.objects.create(
        user=user,
        application=application,
        code=f"g{number}",
        expires=timezone.now() + hours,
        redirect_uri="https://x",
    )
    if number % 2:
        refresh = oauth.RefreshToken.objects.create(
            user=user, application=application, token=f"r{number}", access_token=access
        )
        if number % 4 == 1:
            refresh.revoke()


COUNTED = (
    Session,
    OutstandingToken,
    oauth.AccessToken,
    oauth.RefreshToken,
    oauth.Grant,
    oauth.IDToken,
    TaskResult,
)


def clean() -> None:
    before = [model.objects.count() for model in COUNTED]
    call_command("clearsessions")
    call_command("cleartokens")
    call_command("flushexpiredtokens")
    TaskResult.objects.delete_expired(timedelta(days=1))
    after = [model.objects.count() for model in COUNTED]
    for model, one, two in zip(COUNTED, before, after, strict=True):
        print(model.__name__, one, one - two)


if __name__ == "__main__":
    {"write": write, "clean": clean}[sys.argv[1]]()
