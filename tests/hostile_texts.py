"""Five hundred hostile texts: what somebody may put into a caption, a tag, a comment or a file name.

Each sets `window.hacked` when a browser runs it. Shared by all tests that show people's texts.
"""

RUN = "window.hacked=1"
TAGS = (
    f"<script>{RUN}</script>",
    f"<img src=x onerror={RUN}>",
    f"<svg onload={RUN}>",
    f"<iframe srcdoc='<script>parent.{RUN}</script>'></iframe>",
    f"<body onload={RUN}>",
    f"<details open ontoggle={RUN}>",
    f"<video><source onerror={RUN}></video>",
    f"<input autofocus onfocus={RUN}>",
    f"<a href=javascript:{RUN}>x</a>",
    f"<math><mi//xlink:href='data:x,<script>{RUN}</script>'>",
    f"<style onload={RUN}></style>",
    f"<marquee onstart={RUN}>",
    f"<object data='javascript:{RUN}'>",
    f"<template><script>{RUN}</script></template>",
    f"<form><button formaction=javascript:{RUN}>x",
    f"<link rel=stylesheet href=x onerror={RUN}>",
    f"<meta http-equiv=refresh content='0;javascript:{RUN}'>",
    f"{{{{constructor.constructor('{RUN}')()}}}}",
    f"${{{RUN}}}",
    f"[x](javascript:{RUN})",
)
AROUND = (
    "{}",
    "\"'>{}",
    "</textarea>{}",
    "</title>{}",
    "--><!--{}",
    "]]>{}",
    "a {} b",
    "\u202e{}",
    "😀{}",
    "{}\u200b",
    "</script>{}",
    "`{}`",
    "'\" autofocus onfocus=" + RUN + " {}",
    "&lt;{}&gt;",
    "<!--{}",
    "{} " + "x" * 300,
    "\t{}",
    "%3C{}",
    "<<{}",
    "= {}",
    "/*{}*/",
    "\\u003c{}",
    "𝒳{}",
    "<b {}>",
    "؜{}",
)
HOSTILE: tuple[str, ...] = tuple(around.format(tag) for tag in TAGS for around in AROUND)
assert len(set(HOSTILE)) == 500
