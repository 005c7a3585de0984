"""Tables, transactions and named reads."""
