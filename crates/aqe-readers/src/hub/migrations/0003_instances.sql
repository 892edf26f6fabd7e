-- Which installation of an environment committed last: tells two machines apart that
-- use one environment name by mistake.
ALTER TABLE sync_state ADD COLUMN instance TEXT NOT NULL DEFAULT '';
