//! Views over SFTP and the limits of connections: a client sees what was accepted and changes nothing; strangers see
//! nothing at all.

mod common;

use std::time::Duration;

use common::*;
use russh_sftp::client::RawSftpSession;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{FileAttributes, OpenFlags, Packet, StatusCode};
use tenure_trust::admission::verify_machine;
use tenure_trust::vault_wire::{Answer, Request, SSH_USER, SUBSYSTEM};
use tenure_trust::*;
use tenure_vault::server::Limits;
use tokio::io::AsyncReadExt;

async fn sftp(client: &Client) -> RawSftpSession {
    let channel = client.0.channel_open_session().await.expect("a channel");
    channel.request_subsystem(true, "sftp").await.expect("the subsystem");
    let session = RawSftpSession::new(channel.into_stream());
    session.init().await.expect("version 3");
    session
}

fn status<T: std::fmt::Debug>(result: Result<T, SftpError>) -> StatusCode {
    match result {
        Err(SftpError::Status(status)) => status.status_code,
        other => unreachable!("{other:?}"),
    }
}

async fn names(sftp: &RawSftpSession, path: &str) -> Vec<String> {
    let handle = sftp.opendir(path).await.expect(path).handle;
    let mut names = Vec::new();
    while let Ok(some) = sftp.readdir(&handle).await {
        names.extend(some.files.into_iter().map(|file| file.filename));
    }
    sftp.close(handle).await.expect("closed");
    names.sort();
    names
}

async fn read(sftp: &RawSftpSession, path: &str) -> Vec<u8> {
    let handle = sftp.open(path, OpenFlags::READ, FileAttributes::empty()).await.expect(path).handle;
    let mut bytes = Vec::new();
    while let Ok(data) = sftp.read(&handle, bytes.len() as u64, 3).await {
        bytes.extend(data.data);
    }
    sftp.close(handle).await.expect("closed");
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_shows_what_was_there_and_nothing_that_came_later() {
    let bench = Bench::new().await;
    let client = Client::web1(bench.port).await;
    let slot = slot_now(series("web1", Some("acme")));
    let mut typed = client.channel().await;
    let Answer::Opened { generation, .. } = typed.ask(&Request::Open(open(slot.clone()))).await else {
        panic!("not opened")
    };
    let view = |point: Point| View { series: slot.series.clone(), generation, point }.path();
    let first = typed.stored(ObjectKind::Data, b"a pack").await;
    let sftp = sftp(&client).await;
    assert_eq!(
        status(sftp.stat(view(Point::LastSeal)).await),
        StatusCode::NoSuchFile,
        "nothing is sealed yet"
    );
    let early = view(Point::Sequence(first));
    assert_eq!(
        names(&sftp, &early).await,
        ["config", "data", "escrow", "index", "keys", "locks", "seals", "snapshots"]
    );
    let upto = typed.stored(ObjectKind::Snapshot, b"a snapshot").await;
    let mut objects = frozen();
    objects.extend([object(ObjectKind::Data, b"a pack"), object(ObjectKind::Snapshot, b"a snapshot")]);
    let seal = seal(&slot, generation, &objects, Hash::of(b"a snapshot"), upto);
    assert!(matches!(typed.ask(&sealed(&seal, 10)).await, Answer::Sealed { .. }));
    let stray = Hash::of(b"stray").to_string();
    std::fs::write(bench.repo(&slot.series, generation).join("index").join(&stray), b"stray").unwrap();

    let pack = object(ObjectKind::Data, b"a pack").name.to_string();
    let snapshot = object(ObjectKind::Snapshot, b"a snapshot").name.to_string();
    let last = view(Point::LastSeal);
    assert_eq!(read(&sftp, &format!("{last}/config")).await, b"the config");
    assert_eq!(names(&sftp, &format!("{last}/data")).await, [&pack[..2]]);
    assert_eq!(read(&sftp, &format!("{last}/data/{}/{pack}", &pack[..2])).await, b"a pack");
    assert_eq!(names(&sftp, &format!("{last}/snapshots")).await, vec![snapshot.clone()]);
    assert_eq!(names(&sftp, &format!("{early}/snapshots")).await, Vec::<String>::new(), "it came later");
    let late = format!("{early}/snapshots/{snapshot}");
    assert_eq!(
        status(sftp.open(late, OpenFlags::READ, FileAttributes::empty()).await),
        StatusCode::NoSuchFile
    );
    assert_eq!(
        names(&sftp, &format!("{last}/index")).await,
        Vec::<String>::new(),
        "a stray file is in no journal"
    );
    assert_eq!(status(sftp.stat(format!("{last}/index/{stray}")).await), StatusCode::NoSuchFile);
    let file = format!("{}{}.dsse", slot.at.digits(), if slot.manual { "-manual" } else { "" });
    assert_eq!(names(&sftp, &format!("{last}/seals")).await, [file.as_str()], "no receipt beside it");
    let text = read(&sftp, &format!("{last}/seals/{file}")).await;
    let own = verify_machine::<Seal>(&key(10).public(), &text).expect("it is the host's own");
    assert_eq!(own, seal);
    assert_eq!(names(&sftp, &format!("{early}/seals")).await, Vec::<String>::new(), "sealed later");
    assert_eq!(status(sftp.stat(format!("{early}/seals/{file}")).await), StatusCode::NoSuchFile);
    let escrows = names(&sftp, &format!("{last}/escrow")).await;
    assert!(escrows.len() == 2 && escrows.iter().all(|name| name.ends_with(".age")), "{escrows:?}");
    assert_eq!(names(&sftp, "/").await, ["acme"]);
    assert_eq!(names(&sftp, "/acme/web1/server").await, [format!("{generation}@last-seal")]);
    for path in [
        "/acme/web1/server/../../../etc/passwd".to_owned(),
        "/../etc".to_owned(),
        format!("{last}/../2026-01-01.1@1"),
        format!("{last}/objects.journal"),
        format!("{last}/keys/../../escrow"),
        "/.tmp".to_owned(),
        "/etc/passwd".to_owned(),
    ] {
        assert_eq!(status(sftp.stat(&path).await), StatusCode::NoSuchFile, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_can_be_written_renamed_or_deleted_outside_of_the_sessions_locks() {
    let bench = Bench::new().await;
    let client = Client::web1(bench.port).await;
    let slot = slot_now(series("web1", None));
    let (generation, ..) = whole_run(&mut client.channel().await, &slot).await;
    let view = View { series: slot.series.clone(), generation, point: Point::LastSeal }.path();
    let pack = object(ObjectKind::Data, b"a pack").name.to_string();
    let file = format!("{view}/data/{}/{pack}", &pack[..2]);
    let new = format!("{view}/index/{}", Hash::of(b"new"));
    let sftp = sftp(&client).await;
    let denied = StatusCode::PermissionDenied;
    let none = FileAttributes::empty;
    let write = OpenFlags::WRITE | OpenFlags::CREATE;
    for (path, flags) in [
        (&file, OpenFlags::WRITE),
        (&file, OpenFlags::WRITE | OpenFlags::TRUNCATE),
        (&file, OpenFlags::READ | OpenFlags::APPEND),
        (&new, write),
        (&new, write | OpenFlags::EXCLUDE),
        (&format!("{view}/config"), write),
        (&"/x".to_owned(), write),
        (&format!("{view}/locks/../index/x"), write),
    ] {
        assert_eq!(status(sftp.open(path, flags, none()).await), denied, "{path} {flags:?}");
    }
    assert_eq!(status(sftp.remove(&file).await), denied);
    assert_eq!(status(sftp.mkdir(format!("{view}/more"), none()).await), denied);
    assert_eq!(status(sftp.rmdir(format!("{view}/data")).await), denied);
    assert_eq!(status(sftp.rename(&file, &new).await), denied);
    assert_eq!(status(sftp.setstat(&file, none()).await), denied);
    assert_eq!(status(sftp.symlink("/etc/passwd", &new).await), denied);
    let rename = |old: &str, new: &str| {
        let mut data = Vec::new();
        for text in [old, new] {
            data.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
            data.extend(text.as_bytes());
        }
        sftp.extended("posix-rename@openssh.com", data)
    };
    let code = |packet: Result<Packet, SftpError>| match packet {
        Ok(Packet::Status(status)) => status.status_code,
        other => status(other),
    };
    assert_eq!(code(rename(&file, &new).await), denied);
    let lock = format!("{view}/locks/0123-restic-temp-1");
    let kept = format!("{view}/locks/0123");
    let handle = sftp.open(&lock, write | OpenFlags::EXCLUDE, none()).await.expect("locks take files").handle;
    sftp.write(&handle, 0, b"a lock".to_vec()).await.expect("written");
    assert!(sftp.write(&handle, 1 << 40, b"x".to_vec()).await.is_err(), "and not more than a lock needs");
    sftp.close(handle).await.expect("closed");
    assert_eq!(code(rename(&lock, &new).await), denied, "a lock stays a lock");
    assert_eq!(code(rename(&lock, &kept).await), StatusCode::Ok);
    assert_eq!(read(&sftp, &kept).await, b"a lock");
    let other = self::sftp(&client).await;
    assert_eq!(
        names(&other, &format!("{view}/locks")).await,
        Vec::<String>::new(),
        "each session has its own"
    );
    sftp.remove(&kept).await.expect("removed");
    assert_eq!(read(&sftp, &file).await, b"a pack");
    let locks = bench.repo(&slot.series, generation).join("locks");
    assert!(!locks.exists(), "nothing of it reaches the disk");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reads_its_own_and_a_recovery_key_what_its_admission_says() {
    let bench = Bench::new().await;
    let slot = slot_now(series("web1", None));
    let client = Client::web1(bench.port).await;
    let (generation, ..) = whole_run(&mut client.channel().await, &slot).await;
    let view = View { series: slot.series.clone(), generation, point: Point::LastSeal }.path();
    let other = Client::connect(bench.port, "127.0.0.1", SSH_USER, 11).await.expect("web2 is let in");
    let theirs = sftp(&other).await;
    assert_eq!(status(theirs.stat(&view).await), StatusCode::NoSuchFile, "another host's does not exist");
    assert_eq!(names(&theirs, "/").await, Vec::<String>::new());
    let person = Client::connect(bench.port, "127.0.0.3", SSH_USER, 20).await.expect("from management");
    let seen = sftp(&person).await;
    assert_eq!(read(&seen, &format!("{view}/config")).await, b"the config");
    let channel = person.0.channel_open_session().await.expect("a channel");
    channel.request_subsystem(true, SUBSYSTEM).await.expect("asked");
    let mut channel = channel;
    let answer = loop {
        match channel.wait().await {
            Some(russh::ChannelMsg::Failure) => break false,
            Some(russh::ChannelMsg::Success) => break true,
            Some(_) => {}
            None => break false,
        }
    };
    assert!(!answer, "a recovery key writes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_get_no_byte_and_wrong_keys_no_channel() {
    let bench = Bench::new().await;
    let mut stranger = dial(bench.port, "127.0.0.9").await.expect("the port is open");
    let mut bytes = Vec::new();
    stranger.read_to_end(&mut bytes).await.expect("it ends");
    assert_eq!(bytes, b"", "no banner for an address that is nobody's");
    for (from, user, seed) in [
        ("127.0.0.1", SSH_USER, 12),
        ("127.0.0.1", SSH_USER, 99),
        ("127.0.0.1", "root", 10),
        ("127.0.0.3", SSH_USER, 10),
        ("127.0.0.1", SSH_USER, 20),
    ] {
        let client = Client::connect(bench.port, from, user, seed).await;
        assert!(client.is_none(), "{from} {user} {seed}");
    }
    let stream = dial(bench.port, "127.0.0.1").await.unwrap();
    let mut handle = russh::client::connect_stream(std::sync::Arc::default(), stream, Pinned).await.unwrap();
    let methods = match handle.authenticate_none(SSH_USER).await.unwrap() {
        russh::client::AuthResult::Failure { remaining_methods, .. } => remaining_methods,
        russh::client::AuthResult::Success => panic!("let in without a key"),
    };
    assert_eq!(methods[..], [russh::MethodKind::PublicKey], "public keys and nothing else");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_channels_and_time_are_limited() {
    let limits = Limits {
        connections: 3,
        per_address: 2,
        channels: 2,
        handshake: Duration::from_millis(300),
        idle: Duration::from_millis(700),
        ..Limits::default()
    };
    let bench = Bench::with(|_| {}, limits).await;
    let first = Client::web1(bench.port).await;
    let _second = Client::web1(bench.port).await;
    assert!(Client::connect(bench.port, "127.0.0.1", SSH_USER, 10).await.is_none(), "two from one address");
    let mut typed = first.channel().await;
    let _more = first.channel().await;
    assert!(first.0.channel_open_session().await.is_err(), "two channels of one connection");
    assert_eq!(typed.answer().await, None, "a channel on which nothing comes ends");
    drop((first, _second));
    // a connection that proves no key in time ends
    let mut silent = loop {
        let mut stream = dial(bench.port, "127.0.0.1").await.expect("the port is open");
        let mut byte = [0];
        // until the places of the clients before are free again
        if stream.read_exact(&mut byte).await.is_ok() {
            break stream;
        }
    };
    let mut rest = Vec::new();
    let _ = silent.read_to_end(&mut rest).await;
    assert!(rest.starts_with(b"SH-2.0-Tenure"), "{rest:?}");
}
