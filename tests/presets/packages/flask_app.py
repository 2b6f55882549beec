"""Runs in the tests' own venv: Flask-Session on PostgreSQL, in a time zone that is not UTC."""

from __future__ import annotations

import sys
from datetime import timedelta

from flask import Flask
from flask_session import Session
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = sys.argv[2].replace(
    "postgresql://", "postgresql+psycopg://"
)
db = SQLAlchemy(app)
app.config.update(SESSION_TYPE="sqlalchemy", SESSION_SQLALCHEMY=db)


def main() -> None:
    with app.app_context():
        Session(app)
        store = app.session_interface
        if sys.argv[1] == "write":
            for number in range(20):
                lifetime = timedelta(hours=number - 10, minutes=30)
                session = store.session_class(sid=f"s{number}", initial={"n": number})
                store._upsert_session(lifetime, session, f"s{number}")
            return
        count = text("SELECT count(*) FROM sessions")
        before = db.session.execute(count).scalar_one()
        store._delete_expired_sessions()
        print("Session", before, before - db.session.execute(count).scalar_one())


main()
