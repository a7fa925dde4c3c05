//! What a machine says beside its records, from bytes to the judgement of a fleet: whatever one of them sends, judging
//! ends, nothing of it steers a terminal, and what is said of others does not change.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use tenure_areas::area::AreaSpec;
use tenure_areas::backup::facts::{
    DrillFact, DrilledDump, Facts, RunFact, RunRequest, RunningJob, SealFact, Since, SlotFact, SlotState,
};
use tenure_areas::backup::run_id;
use tenure_areas::fake::FakeHost;
use tenure_areas::firewall::Firewall;
use tenure_areas::pass::pass;
use tenure_areas::patch::Patch;
use tenure_areas::ssh_access::SshAccess;
use tenure_obligations::history::Told;
use tenure_obligations::input::Content;
use tenure_obligations::view::{HostRow, Judgement};
use tenure_obligations::{Input, Newest, RecordRef, Reported, judge, say};
use tenure_policy::Set;
use tenure_policy::bundles::{DutyBook, SeriesSection, VaultPolicy};
use tenure_policy::resolved::{HostPolicy, Mode};
use tenure_trust::vault_wire::{GenerationFacts, GenerationState, SealedSlot, SeriesFacts, VaultFacts};
use tenure_trust::{
    About, AreaName, Chain, Draft, Epoch, GenerationId, Hash, HostName, JudgeVersion, MachineRole, Payload,
    PolicyVersion, Record, Seq, SigningKey, SlotId, VerdictTag,
};

use crate::check::{printable, reads_back};
use crate::policy;

type Machines = BTreeMap<(HostName, MachineRole), Reported>;

const AREAS: [&str; 4] = ["backup", "firewall", "patch", "ssh_access"];
/// A table's line holds many reasons, each short.
const LINE: usize = 64 << 10;

/// The example's fleet, and what its machines say when they are honest.
struct Fleet {
    book: DutyBook,
    hosts: BTreeMap<HostName, HostPolicy>,
    vaults: BTreeMap<HostName, VaultPolicy>,
    machines: Machines,
}

static SET: LazyLock<Set> = LazyLock::new(|| {
    let files = policy::files_in(policy::sets()[0].as_slice());
    tenure_policy::load(&files).unwrap_or_else(|faults| unreachable!("the example is refused: {faults}"))
});

static FLEET: LazyLock<Fleet> = LazyLock::new(|| {
    let mut machines = Machines::new();
    for (name, role) in
        [("web1", MachineRole::Host), ("ctl1", MachineRole::Host), ("vault1", MachineRole::Vault)]
    {
        let admitted = now().checked_sub(SignedDuration::from_hours(24 * 40)).ok();
        let reported = Reported { admitted, last_contact: Some(now()), ..Reported::default() };
        machines.insert((host(name), role), reported);
    }
    for bytes in payloads() {
        let (of_agent, of_vault) = (Content::of_agent(Some(&bytes)), Content::of_vault(Some(&bytes)));
        let (machine, area) = match &of_agent {
            Content::Report(report) | Content::Backups(report, _) => {
                (("web1", MachineRole::Host), report.area.to_string())
            }
            _ => (("vault1", MachineRole::Vault), "vault".to_owned()),
        };
        let content = if machine.1 == MachineRole::Vault { of_vault } else { of_agent };
        assert!(!matches!(content, Content::Unreadable), "a good payload is not read");
        put(&mut machines, machine, &area, &content);
        if area == Patch::NAME {
            put(&mut machines, ("ctl1", MachineRole::Host), &area, &content);
        }
    }
    Fleet {
        book: SET.duty_book().expect("the example has a controller"),
        hosts: SET.hosts().map(|name| (name.clone(), web_policy(name))).collect(),
        vaults: SET.vault_policies(),
        machines,
    }
});

/// What is said of a machine that sends nothing hostile.
static BESIDE: LazyLock<HostRow> = LazyLock::new(|| beside(&judged(&FLEET.machines)));

/// A record that tells of drift.
static RECORD: LazyLock<Record> = LazyLock::new(|| {
    let draft = Draft {
        about: About::Area(AreaName::new("firewall").expect("a name")),
        policy: None,
        judge: JudgeVersion::new("tenure fuzz").expect("a text"),
        observed_at: now(),
        verdict: Some(VerdictTag::Drifted),
        reason: None,
    };
    let payload = Payload::new([7; 32], Vec::new()).expect("it is small");
    Chain::begin(host("web1"), Epoch(1)).link(draft, payload, 0, &SigningKey::from_seed(&[21; 32])).record
});

fn now() -> Timestamp {
    "2026-11-22T13:03:00Z".parse().expect("a time")
}

fn host(name: &str) -> HostName {
    HostName::new(name).expect("a name")
}

fn web_policy(name: &HostName) -> HostPolicy {
    SET.host_policy(name).expect("a host of the example")
}

/// The payload of each area of a host and of a vault's facts.
pub fn payload(bytes: &[u8]) {
    let (of_agent, of_vault) = (Content::of_agent(Some(bytes)), Content::of_vault(Some(bytes)));
    let mut machines = FLEET.machines.clone();
    AREAS.iter().for_each(|area| put(&mut machines, ("web1", MachineRole::Host), area, &of_agent));
    let judgement = judged(&machines);
    let web1 = judgement.hosts.iter().find(|row| row.host.as_str() == "web1").expect("it is in the book");
    let read = web1.areas.iter().filter(|area| area.verdict.is_some());
    assert!(read.count() <= 1, "one report is judged as that of several areas");
    harmless(&judgement);

    let mut machines = FLEET.machines.clone();
    put(&mut machines, ("vault1", MachineRole::Vault), "vault", &of_vault);
    harmless(&judged(&machines));

    if let Some((told, _)) = Told::of(&RECORD, Some(bytes)) {
        let kept = reads_back(&told).to_string();
        assert!(kept.len() <= 32 << 10, "{} bytes are remembered of one record", kept.len());
    }
}

fn judged(machines: &Machines) -> Judgement {
    let Fleet { book, hosts, vaults, .. } = &*FLEET;
    let input = Input {
        book,
        version: Some(PolicyVersion(7)),
        hosts,
        vaults,
        machines,
        issued: now().checked_sub(SignedDuration::from_hours(24)).ok(),
        series_since: &BTreeMap::new(),
        agreed: &BTreeMap::new(),
        history: &[],
        now: now(),
    };
    judge(&input).expect("the example's zone is one")
}

fn harmless(judgement: &Judgement) {
    reads_back(judgement);
    for row in &judgement.obligations {
        printable(&say::why(row), LINE);
        printable(&say::evidence(row), LINE);
    }
    let hosts = judgement.hosts.iter().flat_map(|row| &row.why);
    let rows = &judgement.backups.rows;
    let cells = rows.iter().flat_map(|row| row.days.iter().flatten()).filter_map(|cell| cell.why.as_ref());
    let vaults = judgement.backups.vaults.iter().filter_map(|row| row.why.as_ref());
    let all = hosts.chain(rows.iter().flat_map(|row| &row.why)).chain(cells).chain(vaults);
    all.for_each(|why| printable(&why.to_string(), LINE));
    assert_eq!(beside(judgement), *BESIDE, "what one machine sends changes what is said of another");
}

fn beside(judgement: &Judgement) -> HostRow {
    let mut rows = judgement.hosts.iter();
    rows.find(|row| row.host.as_str() == "ctl1").expect("it is in the book").clone()
}

fn put(machines: &mut Machines, (name, role): (&str, MachineRole), area: &str, content: &Content) {
    let reported = machines.get_mut(&(host(name), role)).expect("a machine of the fleet");
    let number = AREAS.iter().position(|known| *known == area).unwrap_or_default();
    let record = RecordRef {
        host: host(name),
        role,
        epoch: Epoch(1),
        seq: Seq(1 + u64::try_from(number).unwrap_or_default()),
        hash: Hash::of(area.as_bytes()),
    };
    let newest = Newest {
        record,
        observed_at: now(),
        received_at: now(),
        policy: Some(PolicyVersion(7)),
        verdict: Some(VerdictTag::Compliant),
        content: content.clone(),
    };
    reported.areas.insert(AreaName::new(area).expect("a name"), newest);
}

/// Good payloads, and the same with times, dates and numbers at their edges.
pub fn payload_seeds() -> Vec<Vec<u8>> {
    let good = payloads();
    let mut all = good.clone();
    let edges = [
        ("2026-11-21", "9999-12-31"),
        ("2026-11-21", "-009999-01-01"),
        ("2026-11-22T13:03:00Z", "9999-12-30T22:00:00.999999999Z"),
        ("2026-11-22T13:03:00Z", "-009999-01-02T01:59:59Z"),
        ("\"took_ms\":6100", "\"took_ms\":18446744073709551615"),
        ("\"bytes\":1048576", "\"bytes\":18446744073709551615"),
        ("\"free_bytes\":1099511627776", "\"free_bytes\":18446744073709551615"),
        ("\"unreadable\":0", "\"unreadable\":18446744073709551615"),
        ("\"number\":1", "\"number\":4294967295"),
        ("no disk", "\\u001b[2J\\u202e"),
    ];
    for bytes in good {
        let text = String::from_utf8(bytes).expect("JSON");
        let changed = edges.iter().filter(|(from, _)| text.contains(from));
        all.extend(changed.map(|(from, to)| text.replace(from, to).into_bytes()));
    }
    all
}

/// What an honest host says of each area, and an honest vault of itself.
fn payloads() -> Vec<Vec<u8>> {
    let policy = web_policy(&host("web1"));
    let fake = FakeHost::debian();
    let firewall = Firewall::desired(policy.firewall.as_ref().expect("the example has a firewall"));
    let access = SshAccess::desired(policy.ssh_access.as_ref().expect("the example has logins"));
    let firewall = pass::<Firewall>(&firewall, Mode::Observe, &fake, &fake, &|| fake.now());
    let access = pass::<SshAccess>(&access, Mode::Observe, &fake, &fake, &|| fake.now());
    let sections = policy.backup.expect("the example is backed up").series;
    let patch = serde_json::json!({
        "installed": 400, "broken": [], "held": [], "lists": now(), "reboot": ["linux-base"],
        "reboot_marked": now(), "kernel": "6.1.0-28-amd64",
        "upgrades": [{
            "package": "openssl", "installed": "1", "candidate": "2", "origins": [], "security": true
        }],
        "seen": { "upgrades": { "openssl": { "installed": "1", "since": now() } }, "reboot": now() },
    });
    let report = |area: &str, facts: serde_json::Value| {
        serde_json::json!({
            "area": area, "mode": "observe", "observed_at": now(), "verdict": "compliant", "facts": facts,
            "plan": null, "findings": [], "mended": [], "done": [], "pending": null, "refusal": null,
            "unknown": null,
        })
    };
    let json = |value: &serde_json::Value| value.to_string().into_bytes();
    let facts = serde_json::to_value(backups(&sections)).expect("plain data");
    let vault = serde_json::json!({ "facts": vault(&sections) });
    vec![
        serde_json::to_vec(&firewall).expect("plain data"),
        serde_json::to_vec(&access).expect("plain data"),
        json(&report("patch", patch)),
        json(&report("backup", facts)),
        json(&vault),
    ]
}

fn slots(sections: &[SeriesSection]) -> impl Iterator<Item = SlotId> + '_ {
    let date = "2026-11-21".parse().expect("a date");
    let times = sections.iter().flat_map(|one| one.at.iter().map(|at| (one.series.clone(), *at)));
    times.map(move |(series, at)| SlotId { series, date, at, manual: false })
}

fn generation() -> GenerationId {
    GenerationId { date: "2026-11-21".parse().expect("a date"), number: 1 }
}

fn backups(sections: &[SeriesSection]) -> Facts {
    let at = now();
    let fact = |(number, slot): (usize, SlotId)| {
        let hash = Hash::of(slot.to_string().as_bytes());
        let (seal, snapshot, root, receipt) = (hash, hash, hash, hash);
        let sealed = SealFact { seal, snapshot, root, receipt, generation: generation(), at, unreadable: 0 };
        let state = match number {
            0 => SlotState::Failed { why: "no disk".into() },
            1 => SlotState::Missed,
            2 => SlotState::Running,
            _ => SlotState::Sealed(sealed),
        };
        SlotFact { slot, state, at, tries: 1 }
    };
    let slot = slots(sections).next().expect("the example has slots");
    let run = run_id(&slot, 1);
    let dumps = sections.iter().flat_map(|one| one.dumps.iter().map(move |dump| (one, dump)));
    let drills = dumps.map(|(one, dump)| DrillFact {
        at,
        held: true,
        what: "no disk".into(),
        took_ms: 6100,
        dump: Some(DrilledDump { series: one.series.clone(), database: dump.database.clone() }),
        slot: Some(slot.clone()),
        tables: 3,
        rows: 4000,
    });
    Facts {
        slots: slots(sections).enumerate().map(fact).collect(),
        drills: drills.collect(),
        since: sections.iter().map(|one| Since { series: one.series.clone(), since: at }).collect(),
        runs: vec![RunFact { run: run.clone(), slot: slot.clone(), starts: 1, opened: true }],
        running: Some(RunningJob { run: run.clone(), since: at }),
        requests: vec![RunRequest { id: run.clone(), series: slot.series, at }],
        over: vec![run],
        machine: Some(Hash::of(b"machine")),
        boot: Some(Hash::of(b"boot")),
        ..Facts::default()
    }
}

fn vault(sections: &[SeriesSection]) -> VaultFacts {
    let facts = |section: &SeriesSection| {
        let sealed = |slot: SlotId| {
            let hash = Hash::of(slot.to_string().as_bytes());
            let (seal, snapshot, root) = (hash, hash, hash);
            SealedSlot { slot, seal, snapshot, root, sequence: 17, received: now(), unreadable: 0 }
        };
        let generation = GenerationFacts {
            id: generation(),
            state: GenerationState::Current,
            opened: now(),
            closed: Some(now()),
            slots: slots(std::slice::from_ref(section)).map(sealed).collect(),
            objects: 10,
            bytes: 1 << 20,
        };
        SeriesFacts { series: section.series.clone(), generations: vec![generation] }
    };
    VaultFacts {
        schema: 1,
        series: sections.iter().map(facts).collect(),
        free_bytes: 1 << 40,
        total_bytes: 4 << 40,
        machine: Hash::of(b"another machine"),
        boot: Hash::of(b"another boot"),
        pages: Vec::new(),
    }
}
