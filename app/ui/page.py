"""The Gradio page: header and tabs; each tab holds one root that a module of static/ fills."""

import gradio as gr

from app.ui.early_head import Head

HEADER = """
<div class="nm-brand">
  <div><strong>Nearmiss</strong> <span>curate the negatives that CLIP learns from</span></div>
  <div class="nm-brand-right"><div id="nm-chooser"></div><div id="nm-person"></div></div>
</div>
"""
# what Gradio itself renders goes through its own translations; the modules of static/ have their words in place
WORDS = gr.I18n(
    en={
        "explore": "Explore",
        "curate": "Curate",
        "tune": "Fine-tune",
        "runs": "Runs",
        "data": "Data",
        "people": "People",
    }
)
TABS = ("explore", "curate", "tune", "runs", "data", "people")
STYLES = ("style", "import", "sweep", "mining", "people", "runs", "explore", "desk")


def head(at: str, modules: list[str]) -> Head:
    """Our modules and styles under the address `at`; `modules` are the ones that the first view needs."""
    preload = "".join(f'<link rel="modulepreload" href="{at}/{name}">\n' for name in modules)
    return Head(
        first=f"""
<link rel="preload" as="fetch" href="/api/data-sets" crossorigin>
{preload}<script type="module" async src="{at}/app.js"></script>
""",
        last=f"""
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="{at}/all.css">
""",
    )


def build_page() -> gr.Blocks:
    """The page, without state of its own: a reload or a second tab shows the same."""
    with gr.Blocks(title="Nearmiss", analytics_enabled=False) as page:
        gr.HTML(HEADER)
        with gr.Tabs():
            for name in TABS:
                with gr.Tab(WORDS(name), id=name, render_children=True):
                    gr.HTML(f'<div id="nm-{name}" class="nm-root"><p class="nm-meta">Loading …</p></div>')
    return page


def theme() -> gr.Theme:
    """Quiet greys with system fonts; the colours of the modules are in static/style.css."""
    return gr.themes.Base(
        primary_hue="indigo",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
