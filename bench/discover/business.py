"""Schemas of ordinary applications: many dates, and no table whose rows expire."""

from __future__ import annotations

from typing import Final

# each: a user table that others refer to where that is usual, and every trap its trade has
BUSINESS: Final[dict[str, str]] = {
    "shop": """
CREATE TABLE customers (id bigserial PRIMARY KEY, email text NOT NULL, deleted_at timestamptz);
CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id bigint REFERENCES customers,
  placed_at timestamptz NOT NULL, paid_at timestamptz, total numeric NOT NULL);
CREATE TABLE coupons (code text PRIMARY KEY, discount numeric, expires_at timestamptz NOT NULL);
CREATE TABLE gift_cards (code text PRIMARY KEY, balance numeric, expires_at timestamptz NOT NULL);
CREATE TABLE promo_codes (code text PRIMARY KEY, data jsonb, valid_until timestamptz);
CREATE TABLE prices (id bigserial, product_id bigint, valid_from date, valid_until date);
CREATE TABLE quotes (id bigserial, payload jsonb, expires_at timestamptz NOT NULL);""",
    "ledger": """
CREATE TABLE accounts (id bigserial PRIMARY KEY, name text, closed_on date);
CREATE TABLE entries (id bigserial PRIMARY KEY, account_id bigint REFERENCES accounts,
  booked_on date NOT NULL, amount numeric NOT NULL, archived_at timestamptz);
CREATE TABLE bonds (isin text PRIMARY KEY, expiry date NOT NULL, coupon numeric);
CREATE TABLE fx_options (id bigserial, strike numeric, expiry timestamptz NOT NULL);
CREATE TABLE credit_limits (id bigserial, amount numeric, expires_on timestamptz);""",
    "clinic": """
CREATE TABLE patients (id bigserial PRIMARY KEY, name text, born_on date, deleted_at timestamptz);
CREATE TABLE prescriptions (id bigserial, patient_id bigint REFERENCES patients, drug text,
  expires_at timestamptz NOT NULL);
CREATE TABLE drug_batches (id bigserial, drug text, expiry_date date NOT NULL, quantity int);
CREATE TABLE vaccines (lot text PRIMARY KEY, expires date NOT NULL);
CREATE TABLE consents (id bigserial, patient_id bigint, data jsonb, valid_until timestamptz);
CREATE TABLE therapy_sessions (id bigserial, patient_id bigint, data text,
  expires_at timestamptz NOT NULL);""",
    "gym": """
CREATE TABLE members (id bigserial PRIMARY KEY, name text, membership_expires_at timestamptz);
CREATE TABLE sessions (id bigserial PRIMARY KEY, trainer text, room text, starts_at timestamptz,
  expires_at timestamptz NOT NULL);
CREATE TABLE bookings (id bigserial, session_id bigint REFERENCES sessions,
  cancelled_at timestamptz);
CREATE TABLE passes (id bigserial, visits int, expiry timestamptz NOT NULL);""",
    "saas": """
CREATE TABLE tenants (id uuid PRIMARY KEY, name text, trial_expires_at timestamptz);
CREATE TABLE subscriptions (id uuid PRIMARY KEY, tenant_id uuid REFERENCES tenants, plan text,
  expires_at timestamptz NOT NULL);
CREATE TABLE invoices (id uuid, due_on date, paid_at timestamptz);
CREATE TABLE api_keys (id uuid, key_hash text, expires_at timestamptz);
CREATE TABLE licenses (id uuid, payload text, expires_at timestamptz NOT NULL);
CREATE TABLE license_tokens (id uuid, token text, expires_at timestamptz NOT NULL);""",
    "school": """
CREATE TABLE students (id serial PRIMARY KEY, name text, enrolled_on date);
CREATE TABLE courses (id serial PRIMARY KEY, title text, ends_on date, valid_until date);
CREATE TABLE sessions (id serial PRIMARY KEY, course_id int REFERENCES courses, data jsonb,
  expiry date NOT NULL);
CREATE TABLE grants (id serial, student_id int, amount numeric,
  expires_at timestamptz NOT NULL);""",
    "fleet": """
CREATE TABLE vehicles (id serial PRIMARY KEY, plate text, insurance_expiry date, tuv_until date);
CREATE TABLE drivers (id serial PRIMARY KEY, name text, licence_expires_at timestamptz);
CREATE TABLE permits (id serial, driver_id int, expires_at timestamptz NOT NULL);
CREATE TABLE trips (id serial, vehicle_id int REFERENCES vehicles, started_at timestamptz,
  finished_at timestamptz);""",
    "hotel": """
CREATE TABLE rooms (id serial PRIMARY KEY, name text);
CREATE TABLE reservations (id serial, room_id int REFERENCES rooms, arrives date, leaves date,
  hold_until timestamptz, expires_at timestamptz);
CREATE TABLE rates (id serial, data jsonb, valid_until timestamptz NOT NULL);
CREATE TABLE loyalty_points (id serial, guest text, points int, expires_at timestamptz NOT NULL);
CREATE TABLE key_cards (id serial, code text, expires_at timestamptz NOT NULL);""",
    "hr": """
CREATE TABLE employees (id serial PRIMARY KEY, name text, hired_on date, left_on date);
CREATE TABLE contracts (id serial, employee_id int REFERENCES employees, expires_on date);
CREATE TABLE visas (id serial, employee_id int, expiry_date timestamptz NOT NULL);
CREATE TABLE certifications (id serial, name text, expires_at timestamptz NOT NULL);
CREATE TABLE leave_requests (id serial, from_day date, to_day date, expires_at timestamptz);
CREATE TABLE background_jobs (id serial, title text, salary numeric, expires_at timestamptz);""",
    "library": """
CREATE TABLE books (isbn text PRIMARY KEY, title text);
CREATE TABLE cards (id serial PRIMARY KEY, holder text, expires_at timestamptz NOT NULL);
CREATE TABLE loans (id serial, card_id int REFERENCES cards, due_at timestamptz, returned_at
  timestamptz);
CREATE TABLE holds (id serial, isbn text REFERENCES books, expires_at timestamptz);""",
    "insurance": """
CREATE TABLE policies (number text PRIMARY KEY, holder text, expires_at timestamptz NOT NULL);
CREATE TABLE claims (id serial, policy text REFERENCES policies, closed_at timestamptz);
CREATE TABLE offers (id serial, payload jsonb, valid_until timestamptz NOT NULL);
CREATE TABLE cover_codes (code text PRIMARY KEY, value text, expires_at timestamptz NOT NULL);""",
    "certificates": """
CREATE TABLE domains (name text PRIMARY KEY, expires_at timestamptz NOT NULL);
CREATE TABLE certificates (serial text PRIMARY KEY, data bytea, not_after timestamptz NOT NULL);
CREATE TABLE dns_locks (id text PRIMARY KEY, owner text, expires_at timestamptz NOT NULL);
CREATE TABLE oauth_accounts (id serial, provider text, access_token text, refresh_token text,
  expires_at timestamptz);""",
    "queue": """
CREATE TABLE work_queue (id bigserial PRIMARY KEY, payload jsonb, visible_at timestamptz NOT NULL,
  locked_until timestamptz);
CREATE TABLE q_mail (msg_id bigserial, vt timestamptz NOT NULL, message jsonb);
CREATE TABLE jobs (id bigserial, data jsonb, leased_until timestamptz, state text);
CREATE TABLE leases (id text PRIMARY KEY, data text, expires_at timestamptz NOT NULL);""",
    "forum": """
CREATE TABLE users (id bigserial PRIMARY KEY, name text, banned_until timestamptz,
  deleted_at timestamptz);
CREATE TABLE posts (id bigserial PRIMARY KEY, user_id bigint REFERENCES users, body text,
  created_at timestamptz, deleted_at timestamptz, archived_at timestamptz);
CREATE TABLE badges (id bigserial, value text, expires_at timestamptz NOT NULL);
CREATE TABLE polls (id bigserial, data jsonb, expires_at timestamptz NOT NULL);""",
    "warehouse": """
CREATE TABLE items (id bigserial PRIMARY KEY, sku text, discarded_at timestamptz);
CREATE TABLE lots (id bigserial, item_id bigint REFERENCES items, expiry timestamptz NOT NULL);
CREATE TABLE stock (id bigserial, item_id bigint, best_before date, expires_at bigint);
CREATE TABLE warranties (id bigserial, item_id bigint, expires_at timestamptz NOT NULL);""",
    "estate": """
CREATE TABLE listings (id serial PRIMARY KEY, title text, expires_at timestamptz NOT NULL);
CREATE TABLE leases_signed (id serial, tenant text, valid_until timestamptz NOT NULL);
CREATE TABLE viewings (id serial, listing_id int REFERENCES listings, at timestamptz);
CREATE TABLE mortgages (id serial, data jsonb, expires_on timestamptz NOT NULL);""",
    "events": """
CREATE TABLE conferences (id serial PRIMARY KEY, name text);
CREATE TABLE session (id text PRIMARY KEY, title text NOT NULL, speaker text, expire timestamptz);
CREATE TABLE talks (id serial, session_id text REFERENCES session, ends_at timestamptz);
CREATE TABLE ticket_codes (code text PRIMARY KEY, price numeric, expires_at timestamptz NOT NULL);
CREATE TABLE vouchers (token text PRIMARY KEY, data bytea, expiry timestamptz NOT NULL);""",
    "bank": """
CREATE TABLE cards (pan text PRIMARY KEY, expiry timestamptz NOT NULL, active_until timestamptz);
CREATE TABLE tokens (id bigserial PRIMARY KEY, token text, card text, data text,
  expires_at timestamptz NOT NULL);
CREATE TABLE token_charges (id bigserial, token_id bigint REFERENCES tokens, amount numeric);
CREATE TABLE standing_orders (id bigserial, next_on date, ends_on date, expires timestamptz);""",
    "research": """
CREATE TABLE samples (id bigserial PRIMARY KEY, code text, expires_at timestamptz);
CREATE TABLE grants (id bigserial, sponsor text, amount numeric, expiry timestamptz NOT NULL);
CREATE TABLE reagents (id bigserial, name text, expiration_date date);
CREATE TABLE session (id bigserial PRIMARY KEY, data jsonb NOT NULL, subject text,
  recorded_at timestamptz, expires_at timestamptz NOT NULL);
CREATE TABLE measurements (id bigserial, session_id bigint REFERENCES session, v float8);""",
    "government": """
CREATE TABLE passports (number text PRIMARY KEY, holder text, expires_at timestamptz NOT NULL);
CREATE TABLE tenders (id serial, payload jsonb, expires_at timestamptz NOT NULL);
CREATE TABLE sessions (id serial PRIMARY KEY, chamber text, minutes text, expires_at
  timestamptz NOT NULL);
CREATE TABLE votes (id serial, session_id int REFERENCES sessions, cast_at timestamptz);
CREATE TABLE laws (id serial, value text, in_force_from date, valid_until date);""",
    "media": """
CREATE TABLE films (id serial PRIMARY KEY, title text, rights_valid_until timestamptz);
CREATE TABLE recording_session (id serial PRIMARY KEY, data bytea, studio text,
  expires_at timestamptz NOT NULL);
CREATE TABLE user_session (id serial PRIMARY KEY, score numeric, data jsonb,
  expires_at timestamptz NOT NULL);
CREATE TABLE campaigns (id serial, content text, expires_at timestamptz NOT NULL);
CREATE TABLE cache_of_truth (k text PRIMARY KEY, v text, source text, expires_at timestamptz);""",
    "coaching": """
CREATE TABLE sessions (id bigserial PRIMARY KEY, data jsonb NOT NULL,
  expires_at timestamptz NOT NULL);
CREATE TABLE user_sessions (id uuid PRIMARY KEY, user_id uuid, content text,
  created_at timestamptz, expires_at timestamptz NOT NULL);
CREATE TABLE app_session (id uuid PRIMARY KEY, value text, coach text,
  expires_at timestamptz NOT NULL);""",
    "analytics": """
CREATE TABLE sessions (id bigserial PRIMARY KEY, session_id varchar NOT NULL, data text,
  landing_page text, revenue numeric, created_at timestamp NOT NULL, updated_at timestamp NOT NULL);
CREATE TABLE cache (key varchar PRIMARY KEY, value text NOT NULL, expiration bigint NOT NULL,
  price numeric);
CREATE TABLE session (sid varchar PRIMARY KEY, sess json NOT NULL, expire timestamp(6) NOT NULL);
CREATE TABLE purchases (id bigserial, sid varchar REFERENCES session, amount numeric);""",
    "farm": """
CREATE TABLE animals (id serial PRIMARY KEY, tag text, sold_on date, removed_at timestamptz);
CREATE TABLE feed (id serial, name text, expiry timestamptz NOT NULL, kg numeric);
CREATE TABLE certificates (id serial, body text, valid_till timestamptz NOT NULL);
CREATE TABLE leases (id serial, field text, valid_until date);
CREATE TABLE medication (id serial, animal_id int REFERENCES animals, expires_at timestamptz);""",
}
