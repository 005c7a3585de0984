"""The page: Gradio around, plain modules inside (static/), which talk to `app.api` by fetch."""
