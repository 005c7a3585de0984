// People: oneself, one's tokens, and for admins accounts, invitations, access to the chosen data set, the audit log.

import { get, post, remove } from "./api.js";
import { announce, button, fill, h, notice } from "./dom.js";
import { current, onDataSet, state } from "./state.js";

const ROLES = ["viewer", "annotator", "admin"];
const NUM_LINES = 50; // of the audit log at a time

export function personMenu(root) {
  const leave = async () => {
    await fetch("/log-out", { method: "POST", credentials: "same-origin", redirect: "manual" });
    location.assign("/log-in");
  };
  get("/api/me").then((me) => {
    if (me.has_account) fill(root, h("span", {}, me.name), h("button", { type: "button", class: "nm-button", onclick: leave }, "Log out"));
  }, () => {});
}

export function people(root) {
  const view = new People(root);
  view.load();
  onDataSet(() => view.drawAccess());
}

class People {
  constructor(root) {
    this.root = root;
    this.said = h("div", { class: "nm-people-said" });
    this.you = h("section", {});
    this.accounts = h("section", {});
    this.access = h("section", {});
    this.audit = h("section", {});
    fill(root, this.said, this.you, this.accounts, this.access, this.audit);
  }

  async load() {
    try {
      this.me = await get("/api/me");
    } catch (error) {
      fill(this.said, notice("error", error.message));
      return;
    }
    this.drawYou();
    if (this.me.role === "admin") await this.drawAccounts();
    await this.drawAccess();
  }

  async act(work, done) {
    try {
      const answer = await work();
      fill(this.said, done ? notice("info", done) : null);
      if (done) announce(done);
      return answer;
    } catch (error) {
      fill(this.said, notice("error", error.message));
      this.said.scrollIntoView({ block: "nearest" });
      return null;
    }
  }

  // what was said before stays; null where it cannot be read
  async read(path, query) {
    try {
      return await get(path, query);
    } catch (error) {
      fill(this.said, notice("error", error.message));
      return null;
    }
  }

  // a secret is shown once, in a field that can be copied
  show(what, secret) {
    const field = h("input", { value: secret, readOnly: true, "aria-label": what, class: "nm-secret", onfocus: () => field.select() });
    const copy = () => navigator.clipboard.writeText(secret).then(() => announce("Copied."), () => field.select());
    // browsers give the clipboard to https and this machine only
    fill(this.said, notice("info", `${what} (shown this one time):`, field, navigator.clipboard ? button("Copy", copy) : null));
    this.said.scrollIntoView({ block: "nearest" });
    field.focus();
    field.scrollLeft = 0;
    if (this.me.role === "admin") this.drawAudit();
  }

  drawYou() {
    if (!this.me.has_account) {
      fill(
        this.you,
        h("h2", {}, "You"),
        h("p", { class: "nm-meta" }, "You are the only user of this machine and need no log-in. To share this Nearmiss, add an admin's account; from then on everybody has to log in."),
      );
      return;
    }
    fill(
      this.you,
      h("h2", {}, "You"),
      h("p", { class: "nm-meta" }, `${this.me.name}, ${this.me.role ? `${this.me.role} on all data sets` : "on the data sets that were granted"}`),
      this.me.has_password ? this.passwordForm() : null,
      h("h3", {}, "Tokens for programs"),
      (this.tokens = h("ul", { class: "nm-people-list" })),
      this.tokenForm(),
    );
    get("/api/me/tokens").then((all) => this.drawTokens(all), () => {});
  }

  passwordForm() {
    const old = h("input", { type: "password", autocomplete: "current-password", required: true });
    const fresh = h("input", { type: "password", autocomplete: "new-password", required: true, minLength: 10 });
    const change = async (event) => {
      event.preventDefault();
      const done = await this.act(() => post("/api/me/password", { old: old.value, new: fresh.value }), "Changed. Your other sessions and your tokens have ended.");
      if (done) event.target.reset();
    };
    return h("form", { class: "nm-people-form", onsubmit: change }, field("Present password", old), field("New password, at least 10 characters", fresh), submit("Change password"));
  }

  tokenForm() {
    const name = h("input", { autocomplete: "off", maxLength: 200, required: true });
    const role = roles("viewer");
    const days = h("input", { type: "number", min: 1, max: 366, value: 30 });
    const here = h("input", { type: "checkbox" });
    const make = async (event) => {
      event.preventDefault();
      const body = () => ({ name: name.value, role: role.value, days: Number(days.value), data_set_id: here.checked ? chosenId() : null });
      const made = await this.act(async () => post("/api/me/tokens", body()));
      if (!made) return;
      this.show("The token", made.secret);
      event.target.reset();
      const all = await this.read("/api/me/tokens");
      if (all) this.drawTokens(all);
    };
    return h(
      "form",
      { class: "nm-people-form", onsubmit: make },
      field("What it is for", name),
      field("It may at most", role),
      field("Days", days),
      h("label", { class: "nm-check" }, here, "only the chosen data set"),
      submit("Make a token"),
    );
  }

  drawTokens(all) {
    const end = async (token) => {
      const left = await this.act(() => remove(`/api/me/tokens/${token.id}`), `The token ${token.name} has ended.`);
      if (left) this.drawTokens(left);
    };
    const line = (t) => `${t.name}: ${t.role ?? "all you may"}${t.data_set_id ? ` on ${nameOf(t.data_set_id)}` : ""}, until ${new Date(t.expires_at * 1000).toLocaleDateString()}`;
    if (!all.length) return fill(this.tokens, h("li", { class: "nm-meta" }, "None yet. With one, a script can do what you may, or less."));
    return fill(this.tokens, all.map((t) => h("li", {}, h("span", {}, line(t)), button("End", () => end(t)))));
  }

  async drawAccounts() {
    const all = await this.read("/api/people");
    if (!all) return;
    const some = all.length > 0;
    const forms = [h("h3", {}, "Invite somebody"), this.inviteForm(), h("h3", {}, "Add an account yourself"), this.addForm(false)];
    fill(this.accounts, h("h2", {}, "Accounts"), some ? [this.table(all), forms] : this.addForm(true));
    if (some) await this.drawAudit();
  }

  table(all) {
    const redraw = (answer) => answer && this.drawAccounts();
    const row = (p) => {
      const scope = choice({ all: "all data sets", some: "granted ones" }, p.limited ? "some" : "all", `Where ${p.name} has the role`);
      const role = roles(p.role, `Role of ${p.name}`);
      const save = async () => redraw(await this.act(() => post(`/api/people/${p.id}/role`, { role: role.value, limited: scope.value === "some" }), `Saved: ${p.name}.`));
      role.onchange = scope.onchange = save;
      const reset = async () => {
        const made = await this.act(() => post(`/api/people/${p.id}/password`));
        if (made) this.show(`The new password of ${p.name}`, made.secret);
      };
      const away = async () => {
        if (confirm(`Remove the account of ${p.name}? Their verdicts stay.`)) redraw(await this.act(() => remove(`/api/people/${p.id}`), `${p.name} has no account any more.`));
      };
      return h("tr", {}, h("th", { scope: "row" }, p.name), h("td", {}, role), h("td", {}, scope), h("td", { class: "nm-people-acts" }, button("New password", reset), button("Remove", away)));
    };
    const head = ["Name", "Role", "Where", ""].map((text) => h("th", { scope: "col" }, text));
    return h("table", { class: "nm-people-table" }, h("thead", {}, h("tr", {}, head)), h("tbody", {}, all.map(row)));
  }

  inviteForm() {
    const role = roles("annotator");
    const where = choice({ here: "the chosen data set", all: "all data sets" }, "here");
    const send = async (event) => {
      event.preventDefault();
      const body = () => ({ role: role.value, data_set_id: where.value === "here" ? chosenId() : null });
      const made = await this.act(async () => post("/api/invitations", body()));
      if (made) this.show("A link for one person, valid for a week", `${location.origin}/join/${made.secret}`);
    };
    return h("form", { class: "nm-people-form", onsubmit: send }, field("As", role), field("On", where), submit("Make a link"));
  }

  addForm(first) {
    const name = h("input", { autocomplete: "off", required: true, maxLength: 200 });
    const password = h("input", { type: "password", autocomplete: "new-password", required: true, minLength: 10 });
    const role = first ? null : roles("annotator");
    const add = async (event) => {
      event.preventDefault();
      const body = { name: name.value, password: password.value, role: role?.value ?? "admin" };
      const done = await this.act(() => post("/api/people", body), `Added ${name.value}.`);
      if (done && first) location.assign("/log-in");
      else if (done) await this.drawAccounts();
    };
    return h(
      "form",
      { class: "nm-people-form", onsubmit: add },
      field(first ? "Name of the first admin" : "Name", name),
      field("Password, at least 10 characters", password),
      role ? field("Role on all data sets", role) : null,
      submit(first ? "Add the admin and log in" : "Add"),
    );
  }

  // for those who are no admins everywhere but one of this data set, and for the others too
  async drawAccess() {
    const set = current();
    if (!this.me?.has_account || !set) return fill(this.access);
    let all;
    try {
      all = await get(`/api/data-sets/${set.id}/people`);
    } catch {
      return fill(this.access); // not an admin here
    }
    const row = (p) => {
      const own = choice({ "": p.limited ? "no access" : "as everywhere", viewer: "viewer", annotator: "annotator", admin: "admin" }, p.granted[set.id] ?? "", `Role of ${p.name} here`);
      own.onchange = async () => (await this.act(() => post(`/api/data-sets/${set.id}/people/${p.id}`, { role: own.value || null }), `Saved: ${p.name}.`)) && this.drawAccess();
      return h("li", {}, h("span", {}, `${p.name}${p.limited ? "" : ` (${p.role} everywhere)`}`), own);
    };
    const link = async () => {
      const made = await this.act(() => post(`/api/data-sets/${set.id}/invitations`, { role: "annotator" }));
      if (made) this.show(`A link for one annotator of ${set.name}`, `${location.origin}/join/${made.secret}`);
    };
    const others = this.me.role === "admin" ? await this.grantForm(set) : null;
    if (current()?.id !== set.id) return null; // another one was chosen meanwhile
    return fill(this.access, h("h2", {}, `Who sees ${set.name}`), h("ul", { class: "nm-people-list" }, all.map(row)), others, button("Invite an annotator to it", link));
  }

  // null where everybody sees the data set already
  async grantForm(set) {
    const blind = ((await this.read("/api/people")) ?? []).filter((p) => p.limited && !p.granted[set.id]);
    if (!blind.length) return null;
    const person = h("select", {}, blind.map((p) => h("option", { value: p.id }, p.name)));
    const role = roles("annotator");
    const give = async (event) => {
      event.preventDefault();
      if (person.value && (await this.act(() => post(`/api/data-sets/${set.id}/people/${person.value}`, { role: role.value }), "Granted."))) await this.drawAccess();
    };
    return h("form", { class: "nm-people-form", onsubmit: give }, field("Let see", person), field("As", role), submit("Grant"));
  }

  async drawAudit() {
    const lines = await this.read("/api/audit", { limit: NUM_LINES });
    if (!lines) return;
    const row = (a) => h("tr", {}, h("td", {}, new Date(a.created_at).toLocaleString()), h("td", {}, a.person), h("td", {}, a.action), h("td", {}, Object.entries(a.detail).map(said).join(", ")));
    const head = ["When", "Who", "What", "Which"].map((text) => h("th", { scope: "col" }, text));
    const body = h("tbody", {}, lines.map(row));
    const more = async () => {
      const next = await this.read("/api/audit", { limit: NUM_LINES, before: lines.at(-1).id });
      if (!next) return;
      lines.push(...next);
      body.append(...next.map(row));
      older.hidden = next.length < NUM_LINES;
    };
    const older = button("Older entries", more);
    older.hidden = lines.length < NUM_LINES;
    fill(this.audit, h("h2", {}, "Audit log"), h("table", { class: "nm-people-table nm-audit" }, h("thead", {}, h("tr", {}, head)), body), older);
  }
}

// Raises where there is none: null would mean all of them.
function chosenId() {
  const set = current();
  if (!set) throw new Error("No data set is chosen.");
  return set.id;
}

const nameOf = (id) => state.dataSets.find((set) => set.id === Number(id))?.name ?? `data set ${id}`;

// A detail of an audit line, in words.
function said([name, value]) {
  if (name === "data_set_id") return value === null ? "on all data sets" : `on ${nameOf(value)}`;
  if (name === "limited") return value ? "on granted data sets" : "on all data sets";
  return `${name.replaceAll("_", " ")}: ${value ?? "none"}`;
}

const field = (name, input) => h("label", { class: "nm-field" }, name, input);
const submit = (name) => h("button", { type: "submit", class: "nm-button" }, name);

function choice(options, chosen, label) {
  return h("select", { "aria-label": label ?? null }, Object.entries(options).map(([value, name]) => h("option", { value, selected: value === chosen }, name)));
}

const roles = (chosen, label) => choice(Object.fromEntries(ROLES.map((role) => [role, role])), chosen, label);
