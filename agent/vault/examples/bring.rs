//! Brings a repository that restic made to a vault, over the typed channel, and seals it: what scenarios use as a host
//! whose writer is somebody else's. It prints the view's path, or the word of the refusal.
//!
//! `bring ADDRESS:PORT HOST-KEY SSH-KEY-FILE IDENTITY-SEED SERIES-PATH REPOSITORY [STOP-AFTER]` with the seed as one
//! number, whose key scenarios admit; STOP-AFTER ends it after so many objects, without a seal.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use russh::client;
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use tenure_policy::calendar::Zone;
use tenure_sys::clock;
use tenure_trust::vault_wire::{
    Answer, Escrow, Open, RefusalCode, Request, SSH_USER, SUBSYSTEM, frame, frame_length,
};
use tenure_trust::{
    FleetName, Hash, Object, ObjectKind, Point, RunId, Seal, SealClaims, SeriesId, Signed, SigningKey,
    SlotId, SlotTime, VaultName, View, backup,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Pinned(String);

impl client::Handler for Pinned {
    type Error = russh::Error;
    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> std::result::Result<bool, russh::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else { return Ok(false) };
        Ok(key.to_openssh()?.starts_with(&self.0))
    }
}

struct Typed(russh::ChannelStream<client::Msg>);

impl Typed {
    /// With a limit in time: who writes into a connection that has died is not told.
    async fn ask(&mut self, request: &Request, bytes: &[u8]) -> Result<Answer> {
        tokio::time::timeout(std::time::Duration::from_secs(20), self.ask_now(request, bytes)).await?
    }

    async fn ask_now(&mut self, request: &Request, bytes: &[u8]) -> Result<Answer> {
        self.0.write_all(&frame(request)?).await?;
        if !bytes.is_empty() {
            self.0.write_all(bytes).await?;
        }
        let mut head = [0; 4];
        self.0.read_exact(&mut head).await?;
        let mut json = vec![0; frame_length(head)?];
        self.0.read_exact(&mut json).await?;
        match Answer::parse(&json)? {
            Answer::Refused(refusal) => Err(Refused(refusal.code).into()),
            answer => Ok(answer),
        }
    }
}

#[derive(Debug)]
struct Refused(RefusalCode);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "refused {:?}", self.0)
    }
}

impl Error for Refused {}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [address, host_key, ssh, identity, series, repository, rest @ ..] = words.as_slice() else {
        return Err(
            "bring ADDRESS:PORT HOST-KEY SSH-KEY-FILE IDENTITY-SEED SERIES REPOSITORY [STOP-AFTER]".into()
        );
    };
    let stop_after: Option<usize> = rest.first().map(|n| n.parse()).transpose()?;
    let key = PrivateKey::from_openssh(std::fs::read(ssh)?)?;
    let mut session =
        client::connect(Arc::default(), address.parse::<std::net::SocketAddr>()?, Pinned(host_key.clone()))
            .await?;
    let proof = PrivateKeyWithHashAlg::new(Arc::new(key), None);
    if !session.authenticate_publickey(SSH_USER, proof).await?.success() {
        return Err("the vault does not take this key".into());
    }
    let channel = session.channel_open_session().await?;
    channel.request_subsystem(true, SUBSYSTEM).await?;
    let mut typed = Typed(channel.into_stream());
    let series = SeriesId::from_path(VaultName::new("vault1")?, series)?;
    let identity = SigningKey::from_seed(&[identity.parse()?; 32]);
    let path = bring(&mut typed, series, Path::new(repository), &identity, stop_after).await?;
    say(&path)
}

async fn bring(
    typed: &mut Typed,
    series: SeriesId,
    repository: &Path,
    identity: &SigningKey,
    stop_after: Option<usize>,
) -> Result<String> {
    let local = Zone::named("Europe/Amsterdam")?.local(clock::wall());
    let at =
        SlotTime::new(local.hour().unsigned_abs(), local.minute().unsigned_abs()).ok_or("no time of day")?;
    let slot = SlotId { series: series.clone(), date: local.date(), at, manual: true };
    let config = std::fs::read(repository.join("config"))?;
    let keys = files(repository, "keys")?;
    let key = std::fs::read(keys.first().ok_or("a repository without a key")?)?;
    let bytes: u64 = walk(repository)?.iter().map(|(_, _, size)| size).sum();
    let escrow = ["age1first", "age1second"].map(|recipient| Escrow {
        recipient: recipient.into(),
        text: "-----BEGIN AGE ENCRYPTED FILE-----\nfor a scenario\n-----END AGE ENCRYPTED FILE-----\n".into(),
    });
    let open = Open {
        schema: 1,
        slot: slot.clone(),
        number: 1,
        config: STANDARD.encode(&config),
        key: STANDARD.encode(&key),
        escrow: escrow.to_vec(),
        estimate: bytes,
    };
    let Answer::Opened { generation, sequence, .. } = typed.ask(&Request::Open(open), &[]).await? else {
        return Err("an answer to another question".into());
    };
    let mut objects = vec![object(ObjectKind::Config, &config), object(ObjectKind::Key, &key)];
    let mut upto = sequence;
    let mut snapshot = None;
    for (number, (kind, path, _)) in walk(repository)?.into_iter().enumerate() {
        if stop_after == Some(number) {
            return Ok("stopped".into());
        }
        let bytes = std::fs::read(&path)?;
        let object = object(kind, &bytes);
        let Answer::Stored { sequence } = typed.ask(&Request::Put { object: object.clone() }, &bytes).await?
        else {
            return Err("an answer to another question".into());
        };
        upto = upto.max(sequence);
        if kind == ObjectKind::Snapshot {
            snapshot = Some(object.name);
        }
        objects.push(object);
    }
    let seal = Seal {
        schema: 1,
        fleet: FleetName::new("acme")?,
        slot,
        generation,
        run: RunId::new(format!("run-{}", clock::wall().as_second()))?,
        snapshot: snapshot.ok_or("a repository without a snapshot")?,
        upto,
        objects: objects.len() as u64,
        bytes: objects.iter().map(|o| o.size).sum(),
        root: backup::object_root(&objects),
        claims: SealClaims {
            files: 1,
            source_bytes: 1,
            unreadable: 0,
            changed: 0,
            dumps: 0,
            read_back: true,
        },
        started: clock::wall(),
        ended: clock::wall(),
    };
    let seal = Signed::new(&seal, &[identity]).to_json();
    typed.ask(&Request::Seal { seal }, &[]).await?;
    Ok(View { series, generation, point: Point::LastSeal }.path())
}

fn object(kind: ObjectKind, bytes: &[u8]) -> Object {
    Object { kind, name: Hash::of(bytes), size: bytes.len() as u64 }
}

/// Everything but config and key: packs first, the snapshot last.
fn walk(repository: &Path) -> Result<Vec<(ObjectKind, PathBuf, u64)>> {
    let mut all = Vec::new();
    let mut take = |kind, paths: Vec<PathBuf>| -> Result<()> {
        for path in paths {
            let size = std::fs::metadata(&path)?.len();
            all.push((kind, path, size));
        }
        Ok(())
    };
    for two in files(repository, "data")? {
        take(ObjectKind::Data, files(&two, "")?)?;
    }
    take(ObjectKind::Index, files(repository, "index")?)?;
    take(ObjectKind::Snapshot, files(repository, "snapshots")?)?;
    Ok(all)
}

fn files(dir: &Path, name: &str) -> Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(if name.is_empty() { dir.into() } else { dir.join(name) })? {
        paths.push(entry?.path());
    }
    paths.sort();
    Ok(paths)
}

fn say(text: &str) -> Result<()> {
    use std::io::Write;
    Ok(writeln!(std::io::stdout().lock(), "{text}")?)
}
