// Logging in by a code or a token, for who came without a link of `hpc open`.

import { html, useState } from "./html.js";
import { login } from "./session.js";
import { Command, Dialog, Fault } from "./ui.js";

export function Login({ again = false, error }) {
  if (again) {
    return html`<${Dialog} title="Log in again" closable=${false}>
      <p>The session has ended: the Hub was started again, or the token is no longer good. This page stays as it is.</p>
      <${Form} />
    <//>`;
  }
  return html`<main class="login">
    <div class="panel">
      <h1><img src="static/icon.svg" alt="" width="28" height="28" />hpc</h1>
      <p>On the machine where you use <code>hpc</code>, this opens the dashboard and logs you in:</p>
      <p><${Command}>hpc open<//></p>
      <p class="muted">Or print a link, or paste its code, or a token, here.</p>
      <${Form} first=${error} />
    </div>
  </main>`;
}

function Form({ first = null }) {
  const [text, set] = useState("");
  const [{ busy, error }, setTry] = useState({ busy: false, error: first });
  const submit = async (event) => {
    event.preventDefault();
    setTry({ busy: true, error: null });
    try {
      await login(text);
    } catch (refused) {
      setTry({ busy: false, error: refused });
    }
  };
  return html`<form onSubmit=${submit}>
    <label class="field">Code or token
      <input type="password" name="code" autocomplete="off" required autofocus value=${text} onInput=${(event) => set(event.target.value)} />
    </label>
    <${Fault} error=${error} what="You are not logged in" />
    <div class="dialog-foot"><button type="submit" class="primary" disabled=${busy || !text.trim()}>Log in</button></div>
  </form>`;
}
