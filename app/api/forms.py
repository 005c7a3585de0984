"""The pages of people who are not logged in: plain forms without a script."""

from html import escape

from fastapi.responses import HTMLResponse

STYLE = """:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;display:grid;place-items:center;
min-height:90vh;margin:0}form,main{width:min(20rem,90vw)}label{display:block;margin-top:1rem}input,button{font:inherit;
width:100%;padding:.5rem;box-sizing:border-box}button{margin-top:1.5rem}a{color:LinkText}"""
HEAD = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Nearmiss</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style><main><h1>Nearmiss</h1>"""


def form(*, action: str, said: str, status: int, button: str, new: bool, outside: str = "") -> HTMLResponse:
    """Name and password; `new`: the password is being chosen. `outside`: the name of a provider to log in with."""
    complete = "new-password" if new else "current-password"
    hint = " (at least 10 characters)" if new else ""
    other = f'<p><a href="/oidc/log-in">Log in with {escape(outside)}</a></p>' if outside else ""
    body = f"""<form method="post" action="{escape(action)}"><p role="alert">{escape(said)}</p>
<label>Name <input name="name" autocomplete="username" required autofocus></label>
<label>Password{hint} <input name="password" type="password" autocomplete="{complete}" required></label>
<button>{escape(button)}</button></form>{other}</main></html>"""
    return HTMLResponse(HEAD + body, status, headers={"Cache-Control": "no-store"})


def sentence(said: str, status: int) -> HTMLResponse:
    """One sentence, and the way to the log-in."""
    body = f'<p role="alert">{escape(said)}</p><p><a href="/log-in">Log in</a></p></main></html>'
    return HTMLResponse(HEAD + body, status, headers={"Cache-Control": "no-store"})
