/** Entry point of the page. */
import { render } from "preact";
import { App } from "./app.tsx";
import { keepToken } from "./server.ts";

keepToken();
render(<App />, document.getElementById("app")!);
