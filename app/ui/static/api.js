// The only place that talks to the server. Errors arrive as one sentence each.

export class ApiError extends Error {
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

async function ask(method, path, body) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      credentials: "same-origin",
      headers: body === undefined ? { "X-Nearmiss": "1" } : { "X-Nearmiss": "1", "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new ApiError("Nearmiss does not answer; it may be restarting.", 0);
  }
  const text = await answer.text();
  let data = null;
  try {
    data = text ? JSON.parse(text) : null;
  } catch {
    data = null;
  }
  if (!answer.ok) throw new ApiError(data?.error ?? `The server answered ${answer.status}.`, answer.status);
  return data;
}

export const get = (path, query = {}) => {
  const set = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return ask("GET", set.length ? `${path}?${new URLSearchParams(set)}` : path);
};
export const post = (path, body = {}) => ask("POST", path, body);
export const remove = (path) => ask("DELETE", path);
export const picture = (imageId, size = 256) => `/api/images/${imageId}/${size}`;
