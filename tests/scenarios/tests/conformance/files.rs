//! Files, directories and links of every kind, read by every owner's rule, and managed files put and removed.

use tenure_areas::fake::NodeKind;
use tenure_areas::port::{Beneath, Command, KeyDirectory, Owner};

use crate::script::Script;
use crate::wire::Request;

const OWNERS: [Owner; 4] = [Owner::Root, Owner::Uid(1002), Owner::Uid(7), Owner::Any];
/// Noon of 22 November 2026: the fake's time when nobody lets time pass.
const NOON: &str = "2026-11-22T12:00:00Z";

pub(crate) fn situations() -> Script {
    let mut script = crate::fresh("files");
    read(&mut script);
    managed(&mut script);
    script
}

fn read(script: &mut Script) {
    let shell = format!(
        "rm -rf /srv/conf; mkdir -p /srv/conf/sub /srv/conf/home; cd /srv/conf
         printf text >plain; printf x >open; chmod 666 open; printf x >grouped; chmod 664 grouped; : >empty
         printf x >theirs; chown 1002:0 theirs; printf x >others; chown 7:0 others; printf x >secret; chmod 600 secret
         printf x >two; ln two twin; mkfifo pipe; printf x >sub/inner
         ln -s plain link; ln -s sub linked-dir; ln -s nowhere dangling; ln -s loop loop
         printf x >home/own; chown 1002:0 home home/own; ln -s ../sub home/away; chown -h 1002:0 home/away
         find . -exec touch -h -d {NOON} {{}} +"
    );
    script.situation("every kind of file", shell, |fake| {
        let at = |name: &str| format!("/srv/conf/{name}");
        for (name, text, uid, mode) in [
            ("plain", "text", 0, 0o644),
            ("open", "x", 0, 0o666),
            ("grouped", "x", 0, 0o664),
            ("empty", "", 0, 0o644),
            ("theirs", "x", 1002, 0o644),
            ("others", "x", 7, 0o644),
            ("secret", "x", 0, 0o600),
            ("two", "x", 0, 0o644),
            ("twin", "x", 0, 0o644),
            ("sub/inner", "x", 0, 0o644),
            ("home/own", "x", 1002, 0o644),
        ] {
            fake.write_as(&at(name), text, uid, mode);
        }
        fake.hard_link(&at("two"));
        fake.hard_link(&at("twin"));
        fake.place(&at("pipe"), NodeKind::Fifo, 0);
        for (name, to, uid) in [
            ("link", "plain", 0),
            ("linked-dir", "sub", 0),
            ("dangling", "nowhere", 0),
            ("loop", "loop", 0),
            ("home/away", "../sub", 1002),
        ] {
            fake.place(&at(name), NodeKind::Symlink(to.into()), uid);
        }
        fake.place(&at("home"), NodeKind::Dir, 1002);
        fake.chmod(&at("home"), 1002, 0o755);
    });
    let names = [
        "plain",
        "open",
        "grouped",
        "empty",
        "theirs",
        "others",
        "secret",
        "two",
        "twin",
        "pipe",
        "sub",
        "sub/inner",
        "link",
        "linked-dir",
        "linked-dir/inner",
        "dangling",
        "loop",
        "missing",
        "missing/x",
        "plain/x",
        "pipe/x",
        "link/x",
        "home/own",
        "home/away",
        "home/away/inner",
        "../conf/plain",
        "sub/../plain",
        "/etc/hostname",
        "sub/",
        "",
    ];
    let mut places: Vec<Beneath> = names.iter().map(|name| Beneath::new("/srv/conf", *name)).collect();
    // The root of a path may go through links that root alone could have placed; the rest may not go through any.
    for (root, below) in [
        ("/srv/conf/linked-dir", "inner"),
        ("/srv/conf/linked-dir", ""),
        ("/srv/conf/home/away", "inner"),
        ("/srv/conf/home/away", ""),
        ("/srv/conf/missing", "x"),
        ("/srv/conf/missing", ""),
        ("/srv/conf/dangling", "x"),
        ("/srv/conf/loop", "x"),
        ("/srv/conf/plain", "x"),
        ("/srv/conf/plain", ""),
        ("/srv/conf/pipe", "x"),
        ("/srv/conf/plain/x", "y"),
        ("/srv/conf/sub/", "inner"),
        ("relative", "x"),
        ("/dev/null", ".ssh/authorized_keys"),
    ] {
        places.push(Beneath::new(root, below));
    }
    for place in places {
        for owner in OWNERS {
            script.file(place.clone(), owner, 100);
        }
        script.request(Request::Stat(place.clone()));
        script.request(Request::Dir { path: place, limit: 100 });
    }
    for limit in [0, 3, 4, 5] {
        script.file(Beneath::of("/srv/conf/plain"), Owner::Root, limit);
        script.file(Beneath::of("/srv/conf/empty"), Owner::Root, limit);
        script.request(Request::Dir { path: Beneath::of("/srv/conf/home"), limit });
    }
    for limit in [0, 1, 2, 3] {
        script.request(Request::Dir { path: Beneath::of("/srv/conf/home"), limit });
    }
    for path in ["/etc/passwd", "/etc/shadow", "/etc/ssh/sshd_config"] {
        script.file(Beneath::of(path), Owner::Root, 1 << 20);
        script.file(Beneath::of(path), Owner::Root, 10);
    }
    script.request(Request::Dir { path: Beneath::of("/etc/ssh/sshd_config.d"), limit: 10 });
}

/// A managed file is written whole, over anything but a directory, in a directory that is root's alone.
fn managed(script: &mut Script) {
    let shown = |script: &mut Script, path: &str| {
        script.file(Beneath::of(path), Owner::Root, 1000);
        script.request(Request::Stat(Beneath::of(path)));
    };
    for (path, mode) in [
        ("/var/lib/tenure/firewall/trial.json", 0o600),
        ("/run/tenure/firewall/confirm.json", 0o600),
        ("/etc/ssh/tenure/keys/admin", 0o644),
    ] {
        script.situation(format!("nothing at {path}"), "true", |_| {});
        script.remove(path);
        script.put(path, "one", mode);
        shown(script, path);
        let parent = path.rsplit_once('/').map_or("/", |(parent, _)| parent);
        script.request(Request::Stat(Beneath::of(parent)));
        script.request(Request::Dir { path: Beneath::of(parent), limit: 10 });
        script.put(path, "another", mode);
        shown(script, path);
        let next = format!("{path}.next");
        script.replace(&next, path);
        script.put(&next, "the next", mode);
        script.replace(&next, path);
        shown(script, path);
        shown(script, &next);
        script.remove(path);
        shown(script, path);
        script.remove(path);
        script.request(Request::Dir { path: Beneath::of(parent), limit: 10 });
    }
    opened(script);
    let base = "/var/lib/tenure/conf";
    let shell = format!(
        "mkdir -p {base}/dir {base}/loose {base}/theirs; cd {base}; ln -s /etc/hostname link; mkfifo pipe
         printf x >file; printf x >twice; ln twice twin; ln -s dir to-dir; ln -s /srv to-srv; ln -s nowhere to-nowhere
         chmod 777 loose; chown 1002:0 theirs; printf x >theirs/x; printf x >loose/x; printf x >dir/x"
    );
    script.situation("other things stand in managed places", shell, move |fake| {
        let at = |name: &str| format!("{base}/{name}");
        for name in ["file", "twice", "twin", "theirs/x", "loose/x", "dir/x"] {
            fake.write_as(&at(name), "x", 0, 0o644);
        }
        fake.hard_link(&at("twice"));
        fake.hard_link(&at("twin"));
        fake.place(&at("pipe"), NodeKind::Fifo, 0);
        for (name, to) in
            [("link", "/etc/hostname"), ("to-dir", "dir"), ("to-srv", "/srv"), ("to-nowhere", "nowhere")]
        {
            fake.place(&at(name), NodeKind::Symlink(to.into()), 0);
        }
        for (name, uid, mode) in [("dir", 0, 0o755), ("loose", 0, 0o777), ("theirs", 1002, 0o755)] {
            fake.place(&at(name), NodeKind::Dir, uid);
            fake.chmod(&at(name), uid, mode);
        }
    });
    for name in [
        "dir",
        "link",
        "pipe",
        "twice",
        "file/x",
        "link/x",
        "loose/x",
        "loose/new",
        "theirs/x",
        "theirs/new",
        "to-dir/new",
        "to-dir/x",
        "to-dir",
        "to-nowhere/new",
        "deep/deeper/new",
    ] {
        let path = format!("{base}/{name}");
        script.put(&path, "mine", 0o600);
        shown(script, &path);
        script.remove(&path);
        shown(script, &path);
    }
    script.put(&format!("{base}/one"), "mine", 0o600);
    for (from, to) in [
        ("dir", "new"),
        ("link", "new"),
        ("pipe", "new"),
        ("to-dir", "new"),
        ("one", "dir"),
        ("one", "dir/new"),
        ("missing/x", "missing/y"),
        ("loose/x", "loose/y"),
        ("theirs/x", "theirs/y"),
        ("to-dir/x", "to-dir/y"),
        ("one", "to-nowhere"),
    ] {
        let (from, to) = (format!("{base}/{from}"), format!("{base}/{to}"));
        script.replace(&from, &to);
        shown(script, &from);
        shown(script, &to);
    }
    for name in ["missing/x", "file/x", "to-dir/x", "link/x", "loose/x"] {
        script.remove(&format!("{base}/{name}"));
    }
    script.put(&format!("{base}/setuid"), "mine", 0o4755);
    script.request(Request::Dir { path: Beneath::of(base), limit: 100 });
}

/// The directories above the key files are given back to root, through a way that is root's alone.
fn opened(script: &mut Script) {
    let all = |script: &mut Script| {
        for which in KeyDirectory::ALL {
            script.tell(Command::OpenDirectory { which });
            script.request(Request::Stat(Beneath::of(which.path())));
        }
    };
    script.situation("no directory of keys", "rm -rf /etc/ssh/tenure", |fake| {
        fake.delete("/etc/ssh/tenure/keys");
        fake.delete("/etc/ssh/tenure");
    });
    all(script);
    script.situation("directories that keep sshd out", "mkdir -p /etc/ssh/tenure/keys", |fake| {
        fake.place("/etc/ssh/tenure", NodeKind::Dir, 0);
        fake.place("/etc/ssh/tenure/keys", NodeKind::Dir, 0);
    });
    for (uid, mode) in [(0, 0o700), (0, 0o777), (1002, 0o755)] {
        for path in KeyDirectory::ALL.map(KeyDirectory::path) {
            let shell = format!("chown {uid} {path}; chmod {mode:o} {path}");
            script.situation(format!("{path} of {uid}, {mode:o}"), shell, move |fake| {
                fake.place(path, NodeKind::Dir, uid);
                fake.chmod(path, uid, mode);
            });
            // From the bottom up first: what others can change leads nowhere.
            for which in KeyDirectory::ALL.into_iter().rev() {
                script.tell(Command::OpenDirectory { which });
            }
            all(script);
        }
    }
    let shell = "rmdir /etc/ssh/tenure/keys; ln -s /srv /etc/ssh/tenure/keys";
    script.situation("a link in the place of the keys", shell, |fake| {
        fake.delete("/etc/ssh/tenure/keys");
        fake.place("/etc/ssh/tenure/keys", NodeKind::Symlink("/srv".into()), 0);
    });
    all(script);
    script.situation("a file in its place", "rm /etc/ssh/tenure/keys; echo >/etc/ssh/tenure/keys", |fake| {
        fake.write_as("/etc/ssh/tenure/keys", "\n", 0, 0o644);
    });
    all(script);
    script.situation("nothing there again", "rm -r /etc/ssh/tenure", |fake| {
        fake.delete("/etc/ssh/tenure/keys");
        fake.delete("/etc/ssh/tenure");
    });
}
