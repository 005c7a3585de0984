"""Nearmiss, the application: headless except `app.ui` (Gradio) and `app.api` (FastAPI routes)."""
