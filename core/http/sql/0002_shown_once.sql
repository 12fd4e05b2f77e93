-- An answer that held a secret is not stored, only that it was given: a repeat is told so and gets no second key.
alter table core.idempotency add column shown_once boolean not null default false;
