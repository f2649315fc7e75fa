//! The report's page in a headless Chromium, driven by the keyboard.
//!
//! Chromium is spoken to by its DevTools protocol over two pipes: no port, no server, nothing but serde. Where there is none the
//! test says that it was skipped, unless `LKPI_REQUIRE_CHROMIUM` is set, as CI does; `ci/install.sh` installs it. Screenshots stay in
//! the target folder.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const CASE: &str = "dma-resv-fence-callback";
const PANICS: &str = "linuxkpi_2021";
const MESSAGE: &str = "mi_switch: switch in a critical section";

/// Where reports and screenshots are left for people to look at.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report").join(name);
    std::fs::create_dir_all(&path).expect("a folder");
    path
}

/// The report of some cells: two that fail, two that pass.
fn report(name: &str, more: &[&str]) -> PathBuf {
    let dir = folder(name);
    let args = ["compare", CASE, "-m", "linuxkpi_2021,trylock_spin,linuxkpi_today,cpu_mutex", "-n", "1000", "--report"];
    let output = Command::new(env!("CARGO_BIN_EXE_lkpi")).args(args).arg(&dir).args(more).output().expect("lkpi runs");
    assert!(output.status.success(), "{output:?}");
    dir
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_page_needs_no_other_file_and_no_network() {
    let page = read(&report("alone", &["--bench", "tests/bench.json"]).join("report.html"));
    for part in ["src=", "href=\"http", "@import", "url(http", "<link", "<img", "<iframe"] {
        assert!(!page.contains(part), "{part}");
    }
    assert!(page.contains("default-src 'none'"), "whatever got in could not load anything");
    for href in page.split("href=\"").skip(1).map(|rest| rest.split('"').next().expect("an end")) {
        let id = href.strip_prefix('#').unwrap_or_else(|| panic!("a link to {href}"));
        assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "what {href} leads to");
    }
    for text in [MESSAGE, "driver.rs:", "lkpi replay &#39;lkpi1;", "seed 1", "2 interrupts", "Found by schedule"] {
        let plain = text.replace("&#39;", "'");
        assert!(page.contains(text) || page.contains(&plain), "{text}");
    }
    assert!(page.contains("parking_lot") && page.contains("4 &lt;threads&gt;"), "the costs, escaped");
}

#[test]
fn without_measurements_it_says_so() {
    let page = read(&report("unmeasured", &[]).join("report.html"));
    // Tests run in the package's folder, which has no target folder.
    assert!(page.contains("Nothing was measured: there is no <code>target/bench/summary.json</code>"));
}

#[test]
fn programs_get_the_whole_result() {
    let dir = report("programs", &["--format", "json"]);
    let json: Value = serde_json::from_str(&read(&dir.join("report.json"))).expect("JSON");
    assert_eq!(json["cells"].as_array().map(Vec::len), Some(4));
    assert_eq!((&json["explored"]["engine"], &json["explored"]["seed"]), (&"explore".into(), &1.into()));
    assert_eq!(json["explored"]["interrupted"], false);
    let failures = json["failures"].as_array().expect("failures");
    assert_eq!(failures.len(), 2);
    let failure = &failures[0];
    assert_eq!((&failure["scenario"], &failure["mapping"]), (&CASE.into(), &PANICS.into()));
    assert_eq!((&failure["found"], &failure["deviations"]), (&json["cells"][0]["schedules"], &1.into()));
    assert!(failure["events_found"].as_u64() > Some(1) && failure["steps"].as_array().map(Vec::len) > Some(5));
    let junit = read(&dir.join("junit.xml"));
    assert!(junit.contains("tests=\"4\"") && junit.contains("failures=\"0\""), "{junit}");
    assert!(junit.contains(&format!("<testcase name=\"{PANICS}\" classname=\"{CASE}\"")), "{junit}");
    assert!(junit.contains(MESSAGE) && junit.contains("lkpi1;scenario="), "{junit}");
}

/// What is not as expected is a failure for programs, too.
#[test]
fn junit_has_a_failure_for_an_unexpected_cell() {
    let dir = folder("unexpected");
    for seed in 0..100 {
        let output = Command::new(env!("CARGO_BIN_EXE_lkpi"))
            .args(["compare", CASE, "-m", PANICS, "-n", "1", "--seed", &seed.to_string(), "--report"])
            .arg(&dir)
            .output()
            .expect("lkpi runs");
        if output.status.code() == Some(1) {
            let junit = read(&dir.join("junit.xml"));
            assert!(junit.contains("failures=\"1\"") && junit.contains("expected panic: "), "{junit}");
            let page = read(&dir.join("report.html"));
            assert!(page.contains("Not as expected") && page.contains("expected <b>panic</b>"));
            return;
        }
    }
    panic!("every seed finds the panic with its first schedule");
}

#[test]
fn bad_measurements_are_refused() {
    for (file, says) in [("nonesuch.json", "No such file"), ("Cargo.toml", "not what ci/bench.sh writes")] {
        let output = Command::new(env!("CARGO_BIN_EXE_lkpi"))
            .args(["compare", CASE, "-n", "1", "--bench", file, "--report"])
            .arg(folder("refused"))
            .output()
            .expect("lkpi runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(error.contains(file) && error.contains(says), "{error}");
    }
}

/// A browser with one page.
struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: String,
    calls: u64,
    profile: PathBuf,
}

impl Browser {
    /// None, and says so, if there is no Chromium and none is required.
    fn start() -> Option<Self> {
        let found = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
            let version = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            version.is_ok_and(|status| status.success())
        });
        let Some(name) = found else {
            assert!(
                std::env::var_os("LKPI_REQUIRE_CHROMIUM").is_none(),
                "LKPI_REQUIRE_CHROMIUM is set, and there is no chromium; ci/install.sh installs it"
            );
            // Past the test harness, which would keep it to itself.
            let _ = writeln!(std::io::stderr(), "SKIPPED: the report's page in a browser; there is no chromium");
            return None;
        };
        let profile = std::env::temp_dir().join(format!("lkpi-chromium-{}", std::process::id()));
        // The protocol's pipes are the descriptors 3 and 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1", name])
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"])
            .args(["--disable-component-update", "--disable-sync", "--hide-scrollbars", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("chromium starts");
        let (to, from) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        let mut browser = Self { child, to, from: BufReader::new(from), session: String::new(), calls: 0, profile };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let session = browser.call("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        browser.session = session["sessionId"].as_str().expect("a session").to_owned();
        browser.call("Page.enable", json!({}));
        Some(browser)
    }

    fn read(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.from.read_until(0, &mut bytes).expect("chromium answers");
        assert_eq!(bytes.pop(), Some(0), "chromium has gone away");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut message = json!({"id": self.calls, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).expect("chromium listens");
        loop {
            let mut answer = self.read();
            if answer["id"] == self.calls {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].take();
            }
        }
    }

    /// What an expression of JavaScript comes to.
    fn eval(&mut self, expression: &str) -> Value {
        let result = self.call("Runtime.evaluate", json!({"expression": expression, "returnByValue": true}));
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    fn open(&mut self, file: &Path, width: usize, height: usize) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size);
        let file = file.canonicalize().expect("a file");
        let answer = self.call("Page.navigate", json!({"url": format!("file://{}", file.display())}));
        assert!(answer["errorText"].is_null(), "{answer}");
        loop {
            if self.eval("document.readyState + location.protocol") == "completefile:" {
                return;
            }
        }
    }

    fn scheme(&mut self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// Presses a key.
    fn press(&mut self, key: &str, code: u32) {
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let event = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Presses Tab until what has the focus is as the expression says.
    fn tab_to(&mut self, what: &str) {
        for _ in 0..200 {
            self.press("Tab", 9);
            if self.eval(&format!("(at => !!({what}))(document.activeElement)")) == true {
                return;
            }
        }
        panic!("no number of tabs leads to {what}");
    }

    /// Keeps what is shown as a picture; of it, the part that `selector` finds, if told.
    fn screenshot(&mut self, to: &Path, selector: Option<&str>) -> Vec<u8> {
        let mut params = json!({"format": "png", "captureBeyondViewport": true});
        if let Some(selector) = selector {
            let rect = format!(
                "(r => ({{x: r.x + scrollX, y: r.y + scrollY, width: r.width, height: r.height, scale: 1}}))\
                 (document.querySelector({selector:?}).getBoundingClientRect())"
            );
            params["clip"] = self.eval(&rect);
        }
        let data = self.call("Page.captureScreenshot", params);
        let png = base64(data["data"].as_str().expect("a picture"));
        assert!(png.starts_with(b"\x89PNG") && png.len() > 10_000, "a picture of {} bytes", png.len());
        std::fs::write(to, &png).expect("written");
        png
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

fn base64(text: &str) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: Vec<u32> = text
        .bytes()
        .filter(|byte| *byte != b'=')
        .map(|byte| LETTERS.iter().position(|letter| *letter == byte).expect("base64") as u32)
        .collect();
    let group = |group: &[u32]| {
        let word = group.iter().fold(0, |word, digit| word << 6 | digit) << (6 * (4 - group.len()));
        word.to_be_bytes()[1..group.len()].to_vec()
    };
    digits.chunks(4).flat_map(group).collect()
}

/// The relative luminance of `rgb(r, g, b)`, as WCAG defines it.
fn luminance(colour: &str) -> f64 {
    let parts = colour.trim_start_matches(|c: char| !c.is_ascii_digit()).trim_end_matches(')');
    let channel = |part: &str| {
        let part = part.trim().parse::<f64>().expect("a channel") / 255.0;
        if part <= 0.039_28 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    };
    let [r, g, b] = <[f64; 3]>::try_from(parts.split(',').take(3).map(channel).collect::<Vec<_>>()).expect("a colour");
    0.2126 * r + 0.7152 * g + 0.0722 * b
}

fn contrast(a: &str, b: &str) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn a_failing_cell_is_reached_by_keyboard_and_shows_its_picture_in_light_and_dark() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = report("browser", &["--bench", "tests/bench.json"]);
    let (page, id) = (dir.join("report.html"), format!("{CASE}--{PANICS}"));
    let shown = |part: &str| format!("(at => at.checkVisibility() && at.getBoundingClientRect().width > 100)({part})");
    let picture = format!("document.getElementById('{id}').closest('details').querySelector('svg.picture')");
    let mut pictures = Vec::new();
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        browser.open(&page, 1440, 1000);
        assert_eq!(browser.eval(&shown(&picture)), false, "closed at first");
        browser.screenshot(&dir.join(format!("{scheme}-top.png")), None);
        // From the page's top: the first thing that Tab reaches is the way past everything else.
        browser.press("Tab", 9);
        assert_eq!(browser.eval("document.activeElement.textContent"), "Skip to the verdicts");
        browser.tab_to(&format!("at.getAttribute('href') === '#{id}'"));
        let label = browser.eval("document.activeElement.getAttribute('aria-label')");
        assert_eq!(label, format!("{CASE} on {PANICS}: panic, as expected"));
        browser.press("Enter", 13);
        assert_eq!(browser.eval("location.hash"), format!("#{id}"));
        assert_eq!(browser.eval(&shown(&picture)), true, "open, by its link");
        // The picture says what matters: who, where, and the message.
        let text = browser.eval(&format!("{picture}.textContent"));
        let text = text.as_str().expect("text");
        for part in ["CPU 0", "CPU 1", "submit", "ioctl", "interrupt bystander", "critical section", "off CPU", MESSAGE]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        let rows = browser.eval(&format!("{picture}.querySelectorAll('.number').length"));
        let listed = browser.eval(&format!("{picture}.parentElement.querySelectorAll('ol > li').length"));
        assert!(rows == listed && rows.as_u64().is_some_and(|rows| (5..=12).contains(&rows)), "{rows}, {listed}");
        // Each row of the list is as high as its row of the picture.
        let aligned = format!(
            "(svg => [...svg.querySelectorAll('.number')].every((number, at) => {{\
                const row = svg.parentElement.querySelectorAll('ol > li')[at].getBoundingClientRect();\
                const y = number.getBoundingClientRect().y;\
                return y > row.top && y < row.bottom;\
             }}))({picture})"
        );
        assert_eq!(browser.eval(&aligned), true);
        // The next Tab goes on from there: into the cell.
        browser.press("Tab", 9);
        let inside = format!("document.getElementById('{id}').closest('details').contains(document.activeElement)");
        assert_eq!(browser.eval(&inside), true);
        for part in ["body", "td.v.panic a", "td.v.pass a", "td.v.livelock a", ".legend", ".steps .changes"] {
            let colours = browser.eval(&format!(
                "(at => {{ let under = at; while (/, 0\\)$/.test(getComputedStyle(under).backgroundColor)) under = \
                 under.parentElement; return [getComputedStyle(at).color, getComputedStyle(under).backgroundColor] }})\
                 (document.querySelector('{part}'))"
            ));
            let [text, under] = [0, 1].map(|at| colours[at].as_str().expect("a colour").to_owned());
            assert!(contrast(&text, &under) >= 4.5, "{scheme}, {part}: {text} on {under}");
        }
        let background = browser.eval("getComputedStyle(document.body).backgroundColor");
        assert_eq!(luminance(background.as_str().expect("a colour")) > 0.5, scheme == "light", "{background}");
        pictures.push(browser.screenshot(&dir.join(format!("{scheme}-picture.png")), Some("details[open] .walk")));
        browser.screenshot(&dir.join(format!("{scheme}-costs.png")), Some("#costs"));
    }
    assert!(pictures[0] != pictures[1], "dark is another picture");
}
