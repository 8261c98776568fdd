//! A browser without a window, driven over the DevTools protocol: what a person does at a page, and what the page complains of.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

/// What a page may take to do anything at all.
const PATIENCE: Duration = Duration::from_secs(30);

/// Helpers that every page is given: controls are found as people find them, by what they are called.
const HELPERS: &str = include_str!("helpers.js");

/// A browser; it ends when this is dropped.
pub struct Chrome {
    child: Child,
    /// Where it takes commands, without the path.
    address: String,
    browser: WebSocket<TcpStream>,
    calls: u64,
    _profile: TempDir,
}

/// The browser that there is: `UNDIFFUSE_BROWSER` may name one, or be `required`.
fn program() -> Option<PathBuf> {
    let named = std::env::var("UNDIFFUSE_BROWSER").ok().filter(|name| name != "required" && !name.is_empty());
    let names = ["chromium", "chromium-browser", "google-chrome"].map(PathBuf::from);
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    let there = |name: PathBuf| folders.iter().map(|folder| folder.join(&name)).find(|path| path.is_file());
    named.map(PathBuf::from).or_else(|| names.into_iter().find_map(there))
}

impl Chrome {
    /// Starts a browser; `None`, said aloud, on a machine that has none and need not have one.
    pub fn start() -> Option<Self> {
        let Some(program) = program() else {
            let required = std::env::var("UNDIFFUSE_BROWSER").is_ok_and(|word| word == "required");
            assert!(!required, "UNDIFFUSE_BROWSER is `required` and there is none: install chromium");
            eprintln!("SKIPPED: the studio was not looked at, there is no chromium, chromium-browser or google-chrome");
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        let mut child = Command::new(&program)
            .args([
                "--headless=new",
                "--remote-debugging-port=0",
                "--no-first-run",
                "--disable-gpu",
                "--hide-scrollbars",
            ])
            .args(["--disable-dev-shm-usage", "--disable-background-networking", "--disable-sync", "--mute-audio"])
            .args(["--disable-extensions", "--disable-component-update", "--force-color-profile=srgb"])
            // A container has no user namespaces to make a sandbox of, and the pages are ours.
            .arg("--no-sandbox")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {}: {e}", program.display()));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let endpoint = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let endpoint = line.strip_prefix("DevTools listening on ").map(str::to_owned);
            said.push(line);
            endpoint
        });
        let endpoint = endpoint.unwrap_or_else(|| panic!("{} ended: {}", program.display(), said.join("\n")));
        // A full pipe would stop the browser.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let address = endpoint.trim_start_matches("ws://").split('/').next().unwrap().to_owned();
        let browser = socket(&address, &endpoint);
        Some(Self { child, address, browser, calls: 0, _profile: profile })
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        call(&mut self.browser, self.calls, method, params, &mut |_, _| {})
    }

    /// A page with no cookies or storage of others.
    pub fn page(&mut self) -> Page {
        let context = self.call("Target.createBrowserContext", json!({}))["browserContextId"].clone();
        let target = self.call("Target.createTarget", json!({"url": "about:blank", "browserContextId": context}));
        let endpoint = format!("ws://{}/devtools/page/{}", self.address, target["targetId"].as_str().unwrap());
        let socket = socket(&self.address, &endpoint);
        let mut page = Page { socket, calls: 0, complaints: Vec::new(), expected: Vec::new() };
        for domain in ["Page", "Runtime", "Log", "DOM"] {
            page.call(&format!("{domain}.enable"), json!({}));
        }
        page.call("Page.addScriptToEvaluateOnNewDocument", json!({"source": HELPERS}));
        page.look(Look::default());
        page
    }
}

impl Drop for Chrome {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn socket(address: &str, endpoint: &str) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    tungstenite::client(endpoint, stream).unwrap().0
}

/// Sends a command and waits for its result; events that come before it go to `event`.
fn call(
    socket: &mut WebSocket<TcpStream>,
    id: u64,
    method: &str,
    params: Value,
    event: &mut dyn FnMut(&str, &Value),
) -> Value {
    let command = json!({"id": id, "method": method, "params": params}).to_string();
    socket.send(Message::text(command)).unwrap_or_else(|e| panic!("{method}: {e}"));
    loop {
        let message = socket.read().unwrap_or_else(|e| panic!("{method} got no answer: {e}"));
        let Message::Text(text) = message else { continue };
        let mut message: Value = serde_json::from_str(&text).unwrap();
        if let Some(name) = message["method"].as_str() {
            event(name, &message["params"]);
        } else if message["id"] == id {
            assert!(message["error"].is_null(), "{method}: {}", message["error"]);
            return message["result"].take();
        }
    }
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub dark: bool,
    /// A phone is 390 wide.
    pub width: u32,
    pub height: u32,
}

impl Default for Look {
    fn default() -> Self {
        Self { dark: false, width: 1280, height: 900 }
    }
}

/// A tab.
pub struct Page {
    socket: WebSocket<TcpStream>,
    calls: u64,
    complaints: Vec<String>,
    expected: Vec<String>,
}

impl Page {
    /// A command of the protocol.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let complaints = &mut self.complaints;
        call(&mut self.socket, self.calls, method, params, &mut |name, params| {
            complaints.extend(complaint(name, params))
        })
    }

    /// Opens an address and waits until it is loaded.
    pub fn go(&mut self, url: &str) {
        // Another hash alone would keep the page.
        self.call("Page.navigate", json!({"url": "about:blank"}));
        let answer = self.call("Page.navigate", json!({"url": url}));
        assert!(answer["errorText"].is_null(), "{url}: {}", answer["errorText"]);
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'");
    }

    /// The value of an expression, a promise's when it is one.
    pub fn eval(&mut self, script: &str) -> Value {
        let params = json!({"expression": script, "awaitPromise": true, "returnByValue": true, "userGesture": true});
        let mut answer = self.call("Runtime.evaluate", params);
        let exception = &answer["exceptionDetails"];
        assert!(exception.is_null(), "{script:.500}\n{}", exception["exception"]["description"]);
        answer["result"]["value"].take()
    }

    /// Waits until an expression is true.
    pub fn until(&mut self, script: &str) {
        let start = Instant::now();
        while self.eval(&format!("Boolean({script})")) != Value::Bool(true) {
            if start.elapsed() > PATIENCE {
                let text = self.eval("document.body.innerText.slice(0, 3000)");
                panic!(
                    "`{script}` does not come true; complaints: {:?}\n{}",
                    self.complaints,
                    text.as_str().unwrap_or("")
                );
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Waits until there is a control of this name (see helpers.js) that stays where it is; its middle on the screen.
    fn place(&mut self, name: &str) -> (f64, f64) {
        let (named, start) = (json!(name), Instant::now());
        loop {
            self.until(&format!("proof.control({named})"));
            let at = self.eval(&format!("proof.still(proof.control({named}))"));
            if let (Some(x), Some(y)) = (at[0].as_f64(), at[1].as_f64()) {
                return (x, y);
            }
            assert!(start.elapsed() < PATIENCE, "`{name}` does not come to rest");
        }
    }

    fn mouse(&mut self, kind: &str, (x, y): (f64, f64), buttons: u32) {
        let button = if kind == "mouseMoved" && buttons == 0 { "none" } else { "left" };
        let params = json!({"type": kind, "x": x, "y": y, "button": button, "buttons": buttons, "clickCount": 1});
        self.call("Input.dispatchMouseEvent", params);
    }

    /// Clicks the control of this name.
    pub fn click(&mut self, name: &str) {
        let at = self.place(name);
        self.mouse("mouseMoved", at, 0);
        self.mouse("mousePressed", at, 1);
        self.mouse("mouseReleased", at, 0);
    }

    /// Draws with the mouse held down, over the box of the element of this selector; points are shares of it.
    pub fn stroke(&mut self, selector: &str, points: &[(f64, f64)]) {
        let selector = json!(selector);
        self.until(&format!("document.querySelector({selector})"));
        let rect = self.eval(&format!("proof.rect(document.querySelector({selector}))"));
        let [x, y, w, h] = [0, 1, 2, 3].map(|k| rect[k].as_f64().unwrap());
        let places: Vec<_> = points.iter().map(|(u, v)| (x + u * w, y + v * h)).collect();
        self.mouse("mouseMoved", places[0], 0);
        self.mouse("mousePressed", places[0], 1);
        for &place in &places[1..] {
            self.mouse("mouseMoved", place, 1);
        }
        self.mouse("mouseReleased", places[places.len() - 1], 0);
    }

    /// Presses a key, such as `Tab`, `Enter`, `ArrowRight`, `End`, `Escape`.
    pub fn key(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            " " => (32, " "),
            "End" => (35, ""),
            "Home" => (36, ""),
            "ArrowLeft" => (37, ""),
            "ArrowUp" => (38, ""),
            "ArrowRight" => (39, ""),
            "ArrowDown" => (40, ""),
            other => panic!("no key `{other}` here"),
        };
        let code_name = if key == " " { "Space" } else { key };
        let mut params = json!({"type": "keyDown", "key": key, "code": code_name, "windowsVirtualKeyCode": code});
        if !text.is_empty() {
            params["text"] = json!(text);
        }
        self.call("Input.dispatchKeyEvent", params.clone());
        params["type"] = json!("keyUp");
        self.call("Input.dispatchKeyEvent", params);
    }

    /// Writes into the control of this name in the place of what it holds.
    pub fn write(&mut self, name: &str, text: &str) {
        self.click(name);
        self.eval(&format!("proof.control({}).select?.()", json!(name)));
        self.insert(text);
    }

    /// Writes where the focus is.
    pub fn insert(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    /// Chooses an option of the list of this name, by its value or text.
    pub fn choose(&mut self, name: &str, option: &str) {
        self.place(name);
        let chosen = self.eval(&format!("proof.choose(proof.control({}), {})", json!(name), json!(option)));
        assert_eq!(chosen, true, "`{name}` has no `{option}`");
    }

    /// Drops files onto the element of this selector, as from a file manager.
    pub fn drop_files(&mut self, selector: &str, files: &[&Path]) {
        let selector = json!(selector);
        self.until(&format!("document.querySelector({selector})"));
        let at = self.eval(&format!("proof.middle(document.querySelector({selector}))"));
        let data = json!({"items": [], "files": files, "dragOperationsMask": 1});
        for kind in ["dragEnter", "dragOver", "drop"] {
            self.call("Input.dispatchDragEvent", json!({"type": kind, "x": at[0], "y": at[1], "data": data}));
        }
    }

    /// Pastes a PNG under this name.
    pub fn paste(&mut self, png: &[u8], name: &str) {
        self.eval(&format!("proof.paste({}, {})", json!(STANDARD.encode(png)), json!(name)));
    }

    /// Sets width and colours; motion is always reduced, so that pictures of a page are its final state.
    pub fn look(&mut self, look: Look) {
        let phone = look.width < 600;
        let metrics = json!({"width": look.width, "height": look.height, "deviceScaleFactor": 1, "mobile": phone});
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let scheme = if look.dark { "dark" } else { "light" };
        let features = json!([
            {"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": "reduce"},
        ]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// Writes the whole page as a PNG.
    pub fn screenshot(&mut self, path: &Path) {
        let answer = self.call("Page.captureScreenshot", json!({"format": "png", "captureBeyondViewport": true}));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, STANDARD.decode(answer["data"].as_str().unwrap()).unwrap()).unwrap();
    }

    /// Complaints with this text are part of the test.
    pub fn expect(&mut self, text: &str) {
        self.expected.push(text.to_owned());
    }

    /// Fails if the page has complained: errors on its console, exceptions, resources that could not be had, broken rules.
    pub fn must_be_content(&mut self, about: &str) {
        self.eval("1");
        let expected = std::mem::take(&mut self.expected);
        let mut complaints = std::mem::take(&mut self.complaints);
        complaints.retain(|complaint| !expected.iter().any(|text| complaint.contains(text)));
        assert!(complaints.is_empty(), "{about}: {complaints:#?}");
    }

    /// Faults that axe-core, at `UNDIFFUSE_AXE`, calls serious or critical, a line each; `None` without axe-core.
    pub fn accessibility(&mut self) -> Option<Vec<String>> {
        let source = std::fs::read_to_string(std::env::var_os("UNDIFFUSE_AXE")?).unwrap();
        self.eval(&format!("{source}; true"));
        let faults = self.eval("proof.faults()");
        let lines = faults.as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned());
        Some(lines.collect())
    }
}

/// What an event of the protocol complains of.
fn complaint(event: &str, params: &Value) -> Option<String> {
    match event {
        "Runtime.exceptionThrown" => {
            let details = &params["exceptionDetails"];
            Some(format!("exception: {} {}", details["text"], details["exception"]["description"]))
        }
        "Runtime.consoleAPICalled" if params["type"] == "error" || params["type"] == "assert" => {
            Some(format!("console: {}", params["args"]))
        }
        "Log.entryAdded" if params["entry"]["level"] == "error" => {
            Some(format!("log: {} {}", params["entry"]["text"], params["entry"]["url"]))
        }
        _ => None,
    }
}
