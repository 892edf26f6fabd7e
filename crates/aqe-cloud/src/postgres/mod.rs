//! A hub in PostgreSQL.
