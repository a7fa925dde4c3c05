//! The controller's page as a person at the office sees it: a real browser logs in, reads it on two screens in two schemes,
//! and holds what the page may not do. Pictures of it lie in `look/` of the target directory.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use tenure_lab::wait_for;
use tenure_scenarios::agent::SOON;
use tenure_scenarios::browser::{Browser, Screen};
use tenure_scenarios::operator::DESK;
use tenure_scenarios::vaulted::Vaulted;
use tenure_scenarios::{Result, all_held};

/// A promise as somebody hostile words it.
pub(crate) const SAYS: &str = "<img src=x onerror=document.title=1>";
const PAGE: &str = "https://198.51.100.20:8443/";
const LOGIN: &str = "https://198.51.100.20:8443/login";
/// The name of a program: markup, a mark that turns the line around, a terminal's command.
const PROGRAM: &str = "<b>\u{202e}\u{1b}[7m";
const DESKTOP: Screen = Screen { width: 1280, height: 800, dark: false };
const TELEPHONE: Screen = Screen { width: 390, height: 844, dark: false };

/// The texts of all tables, by the id of their heading: a list of rows, the columns' names first.
const TABLES: &str = "
    const tables = {};
    for (const head of document.querySelectorAll('main h2')) {
        tables[head.id] = [];
        for (let at = head.nextElementSibling; at && at.tagName !== 'H2'; at = at.nextElementSibling)
            for (const row of at.querySelectorAll('tr'))
                tables[head.id].push([...row.cells].map(cell => cell.innerText.trim()));
    }
    return tables;";

/// How the page fits its screen, the texts that hardly differ from what is behind them (WCAG 2.2, 1.4.3), and the names of
/// columns that lie over the next cell.
const FIT: &str = "
    const root = document.documentElement;
    const probe = document.body.appendChild(document.createElement('i'));
    probe.style.backgroundColor = 'Canvas';
    const numbers = text => { const all = text.match(/[\\d.]+/g).map(Number); return all.length < 4 ? [...all, 1] : all; };
    const canvas = numbers(getComputedStyle(probe).backgroundColor);
    probe.remove();
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
        .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
        .reduce((sum, v, at) => sum + v * [.2126, .7152, .0722][at], 0);
    const behind = el => {
        for (let at = el; at; at = at.parentElement) {
            const colour = numbers(getComputedStyle(at).backgroundColor);
            if (colour[3] > 0) return colour;
        }
        return canvas;
    };
    const faint = [], over = [];
    let texts = 0;
    const judge = (el, colour, text) => {
        const [low, high] = [light(numbers(colour)), light(behind(el))].sort((a, b) => a - b);
        texts += 1;
        if ((high + .05) / (low + .05) < 4.5) faint.push(text.slice(0, 40) + ': ' + colour);
    };
    for (const el of document.querySelectorAll('body, body *')) {
        if (!el.getClientRects().length) continue;
        const own = [...el.childNodes].filter(node => node.nodeType === 3).map(node => node.data.trim()).join('');
        if (own) judge(el, getComputedStyle(el).color, own);
        const before = getComputedStyle(el, '::before');
        if (before.content === 'none') continue;
        judge(el, before.color, before.content);
        if (parseFloat(before.height) > el.getBoundingClientRect().height) over.push(before.content);
    }
    const sticksOut = el => el.getBoundingClientRect().right > root.clientWidth + 1;
    return {
        width: innerWidth, needs: root.scrollWidth, has: root.clientWidth, texts, faint, over, dark: light(canvas) < .1,
        outside: [...document.querySelectorAll('body *')].filter(sticksOut).map(el => el.outerHTML.slice(0, 60)),
        scrolls: [...document.querySelectorAll('.scroll')].filter(el => el.scrollWidth > el.clientWidth).length,
    };";

/// What somebody would try who has got markup into the page. It gives the directives that forbade something.
const ATTACK: &str = "
    window.refused = [];
    document.addEventListener('securitypolicyviolation', event => refused.push(event.effectiveDirective));
    const add = (name, fields) => document.body.appendChild(Object.assign(document.createElement(name), fields));
    add('script', { textContent: 'window.struck = 1' });
    add('script', { src: '/page.css' });
    add('style', { textContent: 'body { display: none }' });
    document.body.setAttribute('style', 'display: none');
    document.body.setAttribute('onclick', 'window.struck = 2');
    document.body.click();
    add('img', { src: 'https://192.0.2.77/' });
    add('iframe', { src: '/login' });
    add('base', { href: 'https://192.0.2.77/' });
    add('form', { method: 'post', action: 'https://192.0.2.77/' }).submit();
    return fetch('/api/v1/hosts').then(() => 'fetched', () => 'refused');";
const FORBIDDEN: [&str; 9] = [
    "base-uri",
    "connect-src",
    "form-action",
    "frame-src",
    "img-src",
    "script-src-attr",
    "script-src-elem",
    "style-src-attr",
    "style-src-elem",
];

/// Looks at the page of a fleet whose judgement is worth looking at.
pub(crate) fn looked_at(v: &Vaulted) -> Result<()> {
    let browser = Browser::on(&v.fleet.office)?;
    let mut wrong = Vec::new();
    browser.use_screen(DESKTOP)?;
    log_in(v, &browser, &mut wrong)?;
    read(v, &browser, &mut wrong)?;
    guarded(&browser, &mut wrong)?;
    log_out(v, &browser, &mut wrong)?;
    all_held("the page in a browser", &wrong)
}

/// Says what did not hold, and what was there instead.
fn holds(wrong: &mut Vec<String>, what: &str, held: bool, said: &Value) {
    if !held {
        wrong.push(format!("{what}: {said:#}"));
    }
}

/// A wrong password is told and opens nothing; the right one opens the page.
fn log_in(v: &Vaulted, browser: &Browser, wrong: &mut Vec<String>) -> Result<()> {
    browser.open(PAGE)?;
    let at = browser.address()?;
    holds(wrong, "nobody sees the page without a login", at == LOGIN, &json!(at));
    let password = v.fleet.office.get(&format!("{DESK}/password"))?;
    let tried = |password: &str| -> Result<()> {
        browser.write("input[name=user]", "marit")?;
        browser.write("input[name=password]", password)?;
        browser.press("button")
    };
    tried("not her password")?;
    let said = browser.look("return document.querySelector('[role=alert]')?.innerText")?;
    holds(wrong, "a wrong password is told", said == "Name or password is wrong.", &said);
    let cookies = json!(browser.cookies()?);
    holds(wrong, "a wrong password opens no session", cookies == json!([]), &cookies);
    fits(browser, "login", wrong)?;
    let console = browser.console()?;
    let refused = |line: &Value| line["source"] == "network" && line["message"].to_string().contains(" 401 ");
    let told = console.len() == 1 && console.iter().all(refused);
    holds(wrong, "the refusal and nothing else in the console", told, &json!(console));
    tried(password.trim())?;
    let at = browser.address()?;
    holds(wrong, "the right password opens the page", at == PAGE, &json!(at));
    let cookies = json!(browser.cookies()?);
    let cookie = &cookies[0];
    let flags = ["name", "httpOnly", "secure", "sameSite", "path", "domain"].map(|name| &cookie[name]);
    let ours = json!(["__Host-tenure", true, true, "Strict", "/", "198.51.100.20"]);
    holds(wrong, "one cookie, with every protection", json!(flags) == ours, &cookies);
    holds(wrong, "no second cookie", cookies[1].is_null(), &cookies);
    let seen = browser.look("return document.cookie")?;
    holds(wrong, "no script sees it", seen == "", &seen);
    Ok(())
}

/// The page says what the tool says, and what a machine or a contract words is text on it.
fn read(v: &Vaulted, browser: &Browser, wrong: &mut Vec<String>) -> Result<()> {
    let mut tables = Value::Null;
    let mut differs = Vec::new();
    let alike = wait_for("a page that says what the tool says", SOON, || {
        differs.clear();
        tables = browser.reload().and_then(|()| browser.look(TABLES)).unwrap_or_default();
        compare(v, &tables, &mut differs).is_ok() && differs.is_empty()
    });
    holds(wrong, "the page says what the tool says", alike.is_ok(), &json!([differs, tables]));

    // A program with a hostile name flushes the ruleset of web1.
    let path = format!("/root/{PROGRAM}");
    v.fleet.web1.must(&["cp", "/usr/sbin/nft", &path])?;
    v.fleet.web1.must(&[&path, "flush", "ruleset"])?;
    let shown = wait_for("who flushed the ruleset, on the page", SOON, || {
        tables = browser.reload().and_then(|()| browser.look(TABLES)).unwrap_or_default();
        let named = |row: &Value| row.as_array().into_iter().flatten().any(|cell| text(cell).contains("<b>"));
        rows(&tables, "drift").any(|row| row[0] == "✓ mended" && named(row))
    });
    holds(wrong, "drift, with who did it", shown.is_ok(), &tables["drift"]);
    fits(browser, "page", wrong)?;
    let page = browser.look(
        "return { title: document.title, text: document.body.innerText,
            made: document.querySelectorAll('main b, main img').length }",
    )?;
    let all = text(&page["text"]);
    let marks = all.contains(['\u{202e}', '\u{1b}']);
    holds(wrong, "what was worded is text and nothing else", page["made"] == 0 && !marks, &page);
    holds(wrong, "both are on the page", all.contains(SAYS) && all.contains("<b>"), &page);
    holds(wrong, "nothing of it ran", page["title"] == "lab – Tenure", &page["title"]);
    let console = json!(browser.console()?);
    holds(wrong, "the browser complains of nothing", console == json!([]), &console);
    Ok(())
}

/// The rows of a table, without the columns' names.
fn rows<'t>(tables: &'t Value, table: &str) -> impl Iterator<Item = &'t Value> {
    tables[table].as_array().into_iter().flatten().filter(|row| row[0] != "State")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A state as the page says it, by its word in JSON.
fn state(word: &Value) -> &'static str {
    match text(word) {
        "met" => "✓ met",
        "due" => "… due",
        "unknown" => "? unknown",
        "overdue" => "! overdue",
        "broken" => "✗ broken",
        "not_checkable" => "– not checkable",
        _ => "",
    }
}

fn compare(v: &Vaulted, tables: &Value, differs: &mut Vec<String>) -> Result<()> {
    let mut same = |what: &str, shown: Vec<Value>, told: Vec<Value>| {
        if shown != told || told.is_empty() {
            differs.push(format!("{what}: {} / {}", json!(shown), json!(told)));
        }
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (duties, _) = v.shown("obligations")?;
    let told = list(&duties["obligations"]);
    let told = told.iter().map(|row| json!([state(&row["state"]), row["duty"], row["says"]]));
    let shown = rows(tables, "duties").map(|row| json!([row[0], row[1], row[2]]));
    same("obligations", shown.collect(), told.collect());
    let (hosts, _) = v.shown("hosts")?;
    let told = list(&hosts["hosts"]);
    let named = |row: &Value| match &row["vault"] {
        Value::Null => row["host"].clone(),
        vault => json!(format!("{} (vault {})", text(&row["host"]), text(vault))),
    };
    let told = told.iter().map(|row| json!([state(&row["state"]), named(row)]));
    same("hosts", rows(tables, "hosts").map(|row| json!([row[0], row[1]])).collect(), told.collect());
    let (patches, _) = v.shown("patches")?;
    let told = list(&patches["patches"]);
    let count =
        |row: &Value| if row["lists"].is_null() { json!("?") } else { json!(row["security"].to_string()) };
    let told = told.iter().map(|row| json!([state(&row["state"]), row["host"], count(row)]));
    let shown = rows(tables, "patches").map(|row| json!([row[0], row[1], row[2]]));
    same("patches", shown.collect(), told.collect());
    let (backups, _) = v.shown("backups")?;
    let days = list(&backups["backups"]["days"]);
    let day = |name: &Value| text(name).trim_start_matches(|c: char| !c.is_ascii_digit()).to_owned();
    let shown = (0..days.len()).map(|at| json!(day(&tables["backups"][0][at + 2])));
    let told = days.iter().map(|date| json!(text(date)[8..].trim_start_matches('0')));
    same("the days of the week", shown.collect(), told.collect());
    let sealed = backups["backups"]["rows"].to_string().matches("\"sign\":\"sealed\"").count();
    let signs: usize = rows(tables, "backups").map(|row| row.to_string().matches('●').count()).sum();
    same("sealed copies", vec![json!(signs)], vec![json!(sealed)]);
    Ok(())
}

/// On both screens and in both schemes it fits, everything can be read, and there is a picture of it.
fn fits(browser: &Browser, what: &str, wrong: &mut Vec<String>) -> Result<()> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("look");
    std::fs::create_dir_all(&folder)?;
    for screen in [DESKTOP, TELEPHONE] {
        for dark in [false, true] {
            browser.use_screen(Screen { dark, ..screen })?;
            let name = format!("{what}-{}-{}", screen.width, if dark { "dark" } else { "light" });
            let fit = browser.look(FIT)?;
            let fits = fit["width"] == screen.width && fit["needs"].as_u64() <= fit["has"].as_u64();
            holds(wrong, &format!("{name}: nothing is beside the screen"), fits && fit["scrolls"] == 0, &fit);
            let read =
                fit["faint"] == json!([]) && fit["over"] == json!([]) && fit["texts"].as_u64() > Some(3);
            holds(wrong, &format!("{name}: every text can be read"), read, &fit);
            holds(wrong, &format!("{name}: as light or dark as is wanted"), fit["dark"] == dark, &fit);
            browser.picture(&folder.join(format!("{name}.png")))?;
        }
    }
    browser.use_screen(DESKTOP)
}

/// Markup that got into the page would do nothing, and another's page cannot use the session.
fn guarded(browser: &Browser, wrong: &mut Vec<String>) -> Result<()> {
    let fetched = browser.look(ATTACK)?;
    holds(wrong, "nothing is fetched", fetched == "refused", &fetched);
    let expected = BTreeSet::from(FORBIDDEN.map(str::to_owned));
    let mut refused = BTreeSet::new();
    let all = wait_for("what the policy of content forbids", SOON, || {
        let told = browser.look("return window.refused").unwrap_or_default();
        refused = serde_json::from_value(told).unwrap_or_default();
        refused == expected
    });
    holds(wrong, "each thing is forbidden by its own directive", all.is_ok(), &json!(refused));
    let done = browser.look("return [window.struck ?? null, getComputedStyle(document.body).display]")?;
    holds(wrong, "no script ran and no style holds", done == json!([null, "block"]), &done);
    let at = browser.address()?;
    holds(wrong, "no form was sent elsewhere", at == PAGE, &json!(at));
    let console = json!(browser.console()?);
    let told = console.to_string().contains("Content Security Policy");
    holds(wrong, "the console says what was forbidden: silence before says something", told, &console);

    browser.open(&format!("data:text/html,<a href='{PAGE}'>the page</a>"))?;
    browser.press("a")?;
    let at = browser.address()?;
    holds(wrong, "a link on another's page carries no session", at == LOGIN, &json!(at));
    browser.open(PAGE)?;
    let at = browser.address()?;
    holds(wrong, "an address that she types does", at == PAGE, &json!(at));
    Ok(())
}

/// After a logout neither the way back nor the old cookie leads to the page.
fn log_out(v: &Vaulted, browser: &Browser, wrong: &mut Vec<String>) -> Result<()> {
    let cookies = json!(browser.cookies()?);
    let cookie = format!("cookie: __Host-tenure={}", text(&cookies[0]["value"]));
    let asked = || {
        let words = ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", "-H", &cookie];
        v.fleet.office.must(&[&words[..], &[PAGE]].concat())
    };
    let before = asked()?;
    holds(wrong, "the cookie is the session", before.trim() == "200", &json!(before));
    browser.press("header button")?;
    let at = browser.address()?;
    holds(wrong, "a logout leads to the login", at == LOGIN, &json!(at));
    let cookies = json!(browser.cookies()?);
    holds(wrong, "no cookie is left", cookies == json!([]), &cookies);
    browser.back()?;
    let back = wait_for("the login instead of the page", SOON, || {
        browser.address().is_ok_and(|at| at == LOGIN)
            && browser.look("return document.querySelector('table')").is_ok_and(|table| table.is_null())
    });
    holds(wrong, "the way back leads to the login", back.is_ok(), &json!(browser.address()?));
    let after = asked()?;
    let ended = after.starts_with("303 ") && after.trim().ends_with("/login");
    holds(wrong, "the old cookie opens nothing", ended, &json!(after));
    Ok(())
}
