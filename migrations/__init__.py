"""The tables' history; `app.store.schema.migrate` applies it."""
