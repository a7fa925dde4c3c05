//! What comes to a vault from hosts and SFTP clients before anything is believed: frames of the typed channel, paths of
//! views.

use tenure_trust::vault_wire::{Answer, Request, frame, frame_length};
use tenure_trust::{GenerationId, Hash, Object, ObjectKind, SeriesId, VaultName, View};

use crate::check::printable;

fn vault() -> VaultName {
    VaultName::new("vault1").expect("a name")
}

/// A stream of frames: what is a message reads back as itself, what is none is refused in words that steer nothing, and
/// no length announces more than a frame may have.
pub fn frames(bytes: &[u8]) {
    let mut rest = bytes;
    while let Some((head, after)) = rest.split_first_chunk::<4>() {
        let length = match frame_length(*head) {
            Ok(length) => length,
            Err(refused) => return printable(&refused.to_string(), 400),
        };
        assert!(length <= tenure_trust::vault_wire::MAX_FRAME);
        let Some((json, after)) = after.split_at_checked(length) else { return };
        match Request::parse(json) {
            Ok(request) => {
                let again = frame(&request).expect("what was read can be written");
                assert_eq!(Request::parse(&again[4..]).as_ref(), Ok(&request));
            }
            Err(refused) => printable(&refused.to_string(), 400),
        }
        if let Err(refused) = Answer::parse(json) {
            printable(&refused.to_string(), 400);
        }
        rest = after;
    }
}

/// A path of a view: it reads back as it was written, and never leaves the store.
pub fn view(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match View::from_path(vault(), &text) {
        Ok(view) => {
            assert_eq!(View::from_path(vault(), &view.path()).as_ref(), Ok(&view));
            assert!(!view.path().contains(".."), "{}", view.path());
        }
        Err(fault) => printable(&fault.to_string(), 1000),
    }
    if let Ok(id) = text.parse::<GenerationId>() {
        assert_eq!(id.to_string(), text);
    }
    if let Ok(series) = SeriesId::from_path(vault(), &text) {
        assert_eq!(series.path(), text);
    }
}

/// One request of the kinds that carry most.
pub fn frame_streams() -> Vec<Vec<u8>> {
    let object = Object { kind: ObjectKind::Data, name: Hash::of(b"x"), size: 5 };
    let series = SeriesId::from_path(vault(), "acme/web1/server").expect("a series");
    let requests = [
        Request::Have { objects: vec![object.clone(); 3] },
        Request::Put { object },
        Request::Inventory { series },
        Request::Seal { seal: "{}".into() },
    ];
    let frames: Vec<Vec<u8>> = requests.iter().map(|r| frame(r).expect("a frame")).collect();
    let mut all = frames.clone();
    all.push(frames.concat());
    all
}

/// Paths of every form.
pub fn paths() -> Vec<Vec<u8>> {
    ["last-seal", "17", "2026-11-23T06:10:00Z"]
        .map(|point| format!("/acme/web1/server/2026-11-23.1@{point}").into_bytes())
        .into_iter()
        .chain([b"acme/web1/nightly".to_vec(), b"2026-11-23.1".to_vec()])
        .collect()
}
