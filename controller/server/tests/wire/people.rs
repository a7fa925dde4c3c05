//! People and programs: login, sessions, forms, headers, and who is let in where.

use std::time::Duration;

use hyper::Method;
use tenure_controller::store::{Tried, Turn};

use crate::client::Client;
use crate::world::{PASSWORD, World};

/// Every path of the API, and its method: a new one must be named here.
const API: [(Method, &str); 20] = [
    (Method::POST, "/api/v1/logout"),
    (Method::GET, "/api/v1/tokens"),
    (Method::POST, "/api/v1/tokens"),
    (Method::GET, "/api/v1/enrolments"),
    (Method::GET, "/api/v1/admissions"),
    (Method::POST, "/api/v1/admissions"),
    (Method::POST, "/api/v1/revocations"),
    (Method::POST, "/api/v1/orders"),
    (Method::GET, "/api/v1/policy"),
    (Method::PUT, "/api/v1/policy"),
    (Method::GET, "/api/v1/machines"),
    (Method::GET, "/api/v1/obligations"),
    (Method::GET, "/api/v1/hosts"),
    (Method::GET, "/api/v1/backups"),
    (Method::GET, "/api/v1/drift"),
    (Method::GET, "/api/v1/patches"),
    (Method::GET, "/api/v1/hosts/web1/records"),
    (Method::GET, "/api/v1/hosts/web1/export"),
    (Method::GET, "/api/v1/findings"),
    (Method::GET, "/api/v1/state"),
];

async fn browser(world: &World, password: &str) -> (Client, crate::client::Answer) {
    let client = world.people().with("origin", "https://ctl1");
    let answer = client.post("/login", format!("user=marit&password={password}")).await;
    (client, answer)
}

#[tokio::test]
async fn nobody_gets_in_without_a_session() {
    let world = World::new().await;
    let source =
        format!("{}{}", include_str!("../../src/people/mod.rs"), include_str!("../../src/pages/mod.rs"));
    let routes: std::collections::BTreeSet<&str> =
        source.split('"').filter(|text| text.starts_with("/api/v1/")).collect();
    let tested: std::collections::BTreeSet<String> = API
        .iter()
        .map(|(_, path)| path.replace("/web1/", "/{host}/"))
        .chain(["/api/v1/login".into()])
        .collect();
    assert_eq!(routes.into_iter().map(str::to_owned).collect::<std::collections::BTreeSet<_>>(), tested);
    let wrong = world.people().with("authorization", format!("Bearer {}", "0".repeat(64)));
    let stale = world.people().with("cookie", format!("__Host-tenure={}", "0".repeat(64)));
    for (method, path) in API {
        for client in [world.people(), wrong.clone(), stale.clone()] {
            let answer = client.try_ask(method.clone(), path, vec![]).await.unwrap();
            assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (401, "not-logged-in"), "{path}");
        }
    }
}

#[tokio::test]
async fn a_browser_logs_in_with_a_guarded_cookie_and_out_again() {
    let world = World::new().await;
    let (client, answer) = browser(&world, PASSWORD).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    let cookie = answer.headers["set-cookie"].to_str().unwrap().to_owned();
    for part in ["__Host-tenure=", "; Path=/", "; HttpOnly", "; Secure", "; SameSite=Strict"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Domain"));
    let secret = cookie.split(';').next().unwrap().to_owned();
    let inside = client.clone().with("cookie", secret.clone());
    assert_eq!(inside.get("/api/v1/machines").await.status, 200);
    // A changing request needs the page's own text beside the cookie.
    let change = "{\"name\":\"web1\",\"role\":\"host\"}";
    assert_eq!(inside.post("/api/v1/tokens", change).await.problem(), "foreign-page");
    let derived = tenure_controller::secret::Secret::brought(&secret["__Host-tenure=".len()..]).unwrap();
    let csrf = derived.derived("csrf");
    let form = inside.clone().with("x-tenure-csrf", csrf.clone());
    assert_eq!(form.post("/api/v1/tokens", change).await.status, 200);
    let elsewhere = world.people().with("origin", "https://evil.example").with("cookie", secret.clone());
    let elsewhere = elsewhere.with("x-tenure-csrf", csrf.clone());
    assert_eq!(elsewhere.post("/api/v1/tokens", change).await.problem(), "foreign-page");
    assert_eq!(inside.post("/logout", "csrf=0").await.problem(), "foreign-page");
    assert_eq!(inside.post("/logout", format!("csrf={csrf}")).await.status, 303);
    assert_eq!(inside.get("/api/v1/machines").await.status, 401, "the session has ended");
}

#[tokio::test]
async fn a_login_from_another_page_is_refused() {
    let world = World::new().await;
    let body = format!("user=marit&password={PASSWORD}");
    for origin in [None, Some("https://evil.example"), Some("http://ctl1"), Some("null")] {
        let client = match origin {
            None => world.people(),
            Some(origin) => world.people().with("origin", origin),
        };
        assert_eq!(client.post("/login", body.clone()).await.problem(), "foreign-page", "{origin:?}");
    }
}

#[tokio::test]
async fn wrong_passwords_are_told_alike_and_slow_down() {
    let world = World::new().await;
    let (_, wrong) = browser(&world, "wrong-password-1").await;
    let client = world.people().with("origin", "https://ctl1");
    let unknown = client.post("/login", "user=nobody&password=wrong-password-1").await;
    assert_eq!((wrong.status, &wrong.body), (unknown.status, &unknown.body), "no name is given away");
    assert_eq!(wrong.status, 401);
    for _ in 0..5 {
        browser(&world, "wrong-password-2").await;
    }
    let (_, throttled) = browser(&world, PASSWORD).await;
    assert_eq!(throttled.status, 429, "also the right one waits now");
    assert!(throttled.headers.get("set-cookie").is_none());
    let api = serde_json::json!({ "user": "marit", "password": PASSWORD }).to_string();
    assert_eq!(world.people().post("/api/v1/login", api).await.problem(), "throttled");
    // An administrator at the machine gives a new password: then only the address waits, and not for long.
    let hash = tenure_controller::password::hash(PASSWORD).await.unwrap();
    let access = tenure_controller::store::Access::Local;
    world.app.store.put_user(&access, "marit", &hash, world.app.now()).await.unwrap();
    let there = Tried { hard: &["login 127.0.0.1 as marit"], soft: Some("account marit") };
    let turn = world.app.store.may_try(&access, there, world.app.now()).await.unwrap();
    assert_eq!(turn, Turn::Go(Duration::ZERO));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_tries_at_once_no_more_are_judged_than_one_after_the_other() {
    let world = World::new().await;
    let mut tries = Vec::new();
    for n in 0..60 {
        let client = world.people();
        let body = serde_json::json!({ "user": "marit", "password": format!("wrong-password-{n}") });
        tries.push(tokio::spawn(async move { client.post("/api/v1/login", body.to_string()).await.status }));
    }
    let mut judged = 0;
    for one in tries {
        judged += u32::from(one.await.unwrap() == 401);
    }
    // Five are free; the waits after them are seconds, and a slow machine may let some pass.
    assert!((5..20).contains(&judged), "{judged} of 60 were judged");
}

#[tokio::test]
async fn strangers_cannot_keep_the_owner_of_an_account_out() {
    let world = World::new().await;
    let (store, access) = (&world.app.store, tenure_controller::store::Access::Stranger);
    let now = world.app.now();
    for place in 0..40 {
        for _ in 0..3 {
            let there = format!("login 192.0.2.{place} as marit");
            let tried = Tried { hard: &[&there], soft: Some("account marit") };
            store.may_try(&access, tried, now).await.unwrap();
        }
    }
    let own = Tried { hard: &["login 198.51.100.9 as marit"], soft: Some("account marit") };
    let Turn::Go(slowed) = store.may_try(&access, own, now).await.unwrap() else { panic!("kept out") };
    assert!((Duration::from_secs(1)..=Duration::from_secs(4)).contains(&slowed), "{slowed:?}");
    let (_, answer) = browser(&world, PASSWORD).await;
    assert_eq!(answer.status, 303, "the right password from a place that did not fail");
}

#[tokio::test]
async fn a_token_ends_alone_and_an_account_with_all_it_has() {
    let world = World::new().await;
    let (store, access) = (&world.app.store, tenure_controller::store::Access::Local);
    let (one, other) = (world.operator().await, world.operator().await);
    let (_, answer) = browser(&world, PASSWORD).await;
    let cookie = answer.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let page = world.people().with("cookie", cookie);
    let hash = |client: &Client| {
        let secret = client.headers[0].1.strip_prefix("Bearer ").unwrap();
        tenure_controller::secret::Secret::brought(secret).unwrap().hash().to_string()
    };
    let held = store.sessions(&access, world.app.now()).await.unwrap();
    assert_eq!(held.iter().filter(|held| held.kind == "api").count(), 2, "{held:?}");
    let own = held.iter().find(|held| hash(&one).contains(&held.id)).unwrap();
    assert!(store.end_named(&access, &own.id).await.unwrap());
    assert!(!store.end_named(&access, &own.id).await.unwrap(), "it has ended");
    assert!(!store.end_named(&access, "").await.unwrap());
    let status = async |client: &Client| client.get("/api/v1/machines").await.status.as_u16();
    assert_eq!((status(&one).await, status(&other).await, status(&page).await), (401, 200, 200));

    assert!(!store.remove_user(&access, "nobody").await.unwrap());
    assert!(store.remove_user(&access, "marit").await.unwrap());
    assert_eq!((status(&other).await, status(&page).await), (401, 401));
    let (_, answer) = browser(&world, PASSWORD).await;
    assert_eq!(answer.status, 401, "the password opens nothing");
    assert!(store.users(&access).await.unwrap().is_empty());
    let icon = world.people().get("/favicon.ico").await;
    assert_eq!((icon.status.as_u16(), icon.body.len()), (204, 0));
}

#[tokio::test]
async fn secrets_are_kept_as_hashes() {
    let mut world = World::new().await;
    let invitation = world.invite("web1", tenure_trust::MachineRole::Host).await;
    let operator = world.operator().await;
    let bearer = operator.headers[0].1["Bearer ".len()..].to_owned();
    let (_, answer) = browser(&world, PASSWORD).await;
    let cookie = answer.headers["set-cookie"].to_str().unwrap()["__Host-tenure=".len()..][..64].to_owned();
    world.service.take().unwrap().stop().await;
    for entry in std::fs::read_dir(world.dir.path().join("state")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for secret in [invitation.secret.as_str(), &bearer, &cookie, PASSWORD] {
            assert!(!bytes.windows(secret.len()).any(|w| w == secret.as_bytes()));
        }
    }
}

#[tokio::test]
async fn every_answer_carries_the_headers() {
    let world = World::new().await;
    for path in ["/login", "/login.css", "/api/v1/state", "/nothing"] {
        let answer = world.people().get(path).await;
        let csp = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(
            csp.starts_with("default-src 'none'") && !csp.contains("inline") && !csp.contains("eval"),
            "{csp}"
        );
        for name in ["x-content-type-options", "strict-transport-security", "x-frame-options"] {
            assert!(answer.headers.contains_key(name), "{path}: {name}");
        }
        // By `no-referrer` a browser says `origin: null` of our own login, which is refused as another page's.
        assert_eq!(answer.headers["referrer-policy"], "same-origin", "{path}");
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
    let page = String::from_utf8(world.people().get("/login").await.body).unwrap();
    assert!(!page.contains("<script") && !page.contains("style=") && !page.contains("http://"), "{page}");
}
