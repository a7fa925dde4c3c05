//! The fake answers as the real tools do; expectations here were measured with nft 1.0.6.

use super::*;

const TABLE: &str = r#"{"nftables":[
  {"add":{"table":{"family":"inet","name":"tenure"}}},
  {"add":{"counter":{"family":"inet","table":"tenure","name":"r_a"}}},
  {"add":{"set":{"family":"inet","table":"tenure","name":"n","type":"ipv4_addr","flags":["constant","interval"],
     "elem":[{"prefix":{"addr":"10.0.0.0","len":8}},"1.2.3.4",{"range":["1.1.1.1","1.1.1.9"]}]}}},
  {"add":{"set":{"family":"inet","table":"tenure","name":"live","type":"nf_proto","flags":["timeout"],
     "elem":[{"elem":{"val":"ipv4","timeout":60}},{"elem":{"val":"ipv6","timeout":60}}]}}},
  {"add":{"chain":{"family":"inet","table":"tenure","name":"g1"}}},
  {"add":{"rule":{"family":"inet","table":"tenure","chain":"g1","comment":"rule:a","expr":[
     {"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"@n"}},
     {"counter":"r_a"},{"accept":null}]}}},
  {"add":{"chain":{"family":"inet","table":"tenure","name":"input","type":"filter","hook":"input","prio":0,"policy":"drop"}}},
  {"add":{"rule":{"family":"inet","table":"tenure","chain":"input","expr":[
     {"match":{"op":"==","left":{"meta":{"key":"nfproto"}},"right":"@live"}},{"goto":{"target":"g1"}}]}}}
]}"#;

fn load(host: &FakeHost, json: &str) -> PortResult<()> {
    host.tell(&Command::NftLoad { json: json.into() })
}

fn one(command: &str) -> String {
    let command = command.replace('\'', "\"").replace("IT", r#""family":"inet","table":"tenure""#);
    format!(r#"{{"nftables":[{command}]}}"#)
}

#[test]
fn transactions_answer_as_nft_does() {
    let table = [
        ("{'delete':{'chain':{IT,'name':'g1'}}}", Some("busy")),
        ("{'delete':{'set':{IT,'name':'n'}}}", Some("busy")),
        ("{'delete':{'counter':{IT,'name':'r_a'}}}", Some("busy")),
        ("{'add':{'element':{IT,'name':'n','elem':['9.9.9.9']}}}", Some("busy")),
        ("{'delete':{'element':{IT,'name':'live','elem':['ipv4']}}}", None),
        ("{'delete':{'element':{IT,'name':'live','elem':['ipv4']}}}", Some("No such file")),
        ("{'delete':{'table':{'family':'inet','name':'nope'}}}", Some("No such file")),
        ("{'add':{'rule':{IT,'chain':'nope','expr':[{'accept':null}]}}}", Some("No such file")),
        ("{'add':{'rule':{IT,'chain':'input','expr':[{'goto':{'target':'nope'}}]}}}", Some("No such file")),
        ("{'add':{'rule':{IT,'chain':'input','expr':[{'counter':'nope'}]}}}", Some("No such file")),
        ("{'flush':{'chain':{IT,'name':'input'}}},{'delete':{'chain':{IT,'name':'g1'}}}", None),
        ("{'add':{'counter':{IT,'name':'r_a'}}}", None),
        ("{'create':{'counter':{IT,'name':'r_a'}}}", Some("File exists")),
        (
            "{'add':{'set':{IT,'name':'n','type':'ipv4_addr','flags':['constant','interval'],'elem':['7.7.7.7']}}}",
            None,
        ),
        ("{'add':{'element':{IT,'name':'n','elem':['10.1.1.1']}}}", Some("conflicting intervals")),
        ("{'reset':{'counters':null}}", Some("does not know")),
        ("{'flush':{'ruleset':null}}", None),
        ("{'table':{'family':'inet','name':'bare'}}", None),
    ];
    let host = FakeHost::debian();
    load(&host, TABLE).unwrap();
    for (command, expected) in table {
        match (load(&host, &one(command)), expected) {
            (Ok(()), None) => {}
            (Err(e), Some(part)) => assert!(e.to_string().contains(part), "{command}: {e}"),
            (got, _) => panic!("{command}: {got:?}"),
        }
    }
}

#[test]
fn a_transaction_happens_whole_or_not_at_all() {
    let host = FakeHost::debian();
    load(&host, TABLE).unwrap();
    let (before, generation) = (host.nft_listing(), host.ask(&Query::NftGeneration).unwrap());
    let half = one("{'flush':{'chain':{IT,'name':'input'}}},{'delete':{'set':{IT,'name':'absent'}}}");
    load(&host, &half).unwrap_err();
    assert_eq!(host.nft_listing(), before);
    assert_eq!(host.ask(&Query::NftGeneration).unwrap(), generation);
}

#[test]
fn a_timeout_lapses_by_the_boot_clock_and_makes_no_generation() {
    let host = FakeHost::debian();
    load(&host, TABLE).unwrap();
    let generation = host.ask(&Query::NftGeneration).unwrap();
    let live = Query::NftSet { name: "live".into() };
    host.advance_ms(59_000);
    assert!(String::from_utf8(host.ask(&live).unwrap()).unwrap().contains("\"expires\":1"));
    host.advance_ms(1_000);
    assert!(!String::from_utf8(host.ask(&live).unwrap()).unwrap().contains("elem"));
    assert_eq!(host.ask(&Query::NftGeneration).unwrap(), generation);
    load(&host, &one("{'delete':{'element':{IT,'name':'live','elem':['ipv4']}}}")).unwrap_err();
}

#[test]
fn listing_has_the_order_of_nft_and_absent_is_absent() {
    let host = FakeHost::debian();
    assert!(matches!(host.ask(&Query::NftOwnTable), Err(PortError::Absent { .. })));
    load(&host, TABLE).unwrap();
    let listing: serde_json::Value = serde_json::from_slice(&host.ask(&Query::NftOwnTable).unwrap()).unwrap();
    let kinds: Vec<_> =
        listing["nftables"].as_array().unwrap().iter().flat_map(|o| o.as_object().unwrap().keys()).collect();
    assert_eq!(kinds, ["metainfo", "table", "counter", "set", "set", "chain", "chain", "rule", "rule"]);
    assert_eq!(listing["nftables"][3]["set"]["elem"][0]["range"][0], "1.1.1.1");
}

#[test]
fn others_changes_are_told_with_their_process() {
    let host = FakeHost::debian();
    load(&host, TABLE).unwrap();
    host.nft_as(4711, "nft", r#"{"nftables":[{"flush":{"ruleset":null}}]}"#).unwrap();
    let told = String::from_utf8(host.ask(&Query::NftChanges { since: 1 }).unwrap()).unwrap();
    assert!(told.contains("\"pid\":4711") && told.contains("\"generation\":2"), "{told}");
    assert_eq!(host.ask(&Query::NftChanges { since: 2 }).unwrap(), b"[]");
}

#[test]
fn faults_fail_one_write_or_end_the_agent() {
    let host = FakeHost::debian();
    let path = ManagedPath::new("/var/lib/tenure/x").unwrap();
    let file = |byte: u8| ManagedFile { path: path.clone(), bytes: vec![byte], mode: 0o600 };
    host.fail_write(2);
    host.put(&file(1)).unwrap();
    host.put(&file(2)).unwrap_err();
    assert_eq!(host.content(path.as_str()), Some(vec![1]));
    host.put(&file(3)).unwrap();
    host.kill_before_write(1);
    host.put(&file(4)).unwrap_err();
    host.remove(&path).unwrap_err();
    assert_eq!(host.content(path.as_str()), Some(vec![3]));
    assert!(host.revive());
    host.put(&file(5)).unwrap();
}

#[test]
fn files_are_trusted_as_the_real_port_trusts_them() {
    let host = FakeHost::debian();
    let keys = Beneath::new("/home/app", ".ssh/authorized_keys");
    let read = |owner| host.file(&keys, owner, 10);
    assert!(matches!(read(Owner::Uid(1002)), Err(PortError::Absent { .. })));
    host.write_as(&keys.path(), "key", 1002, 0o600);
    assert_eq!(read(Owner::Uid(1002)).unwrap(), b"key");
    assert!(matches!(read(Owner::Root), Err(PortError::Untrusted { .. })));
    assert!(matches!(read(Owner::Uid(1)), Err(PortError::Untrusted { .. })));
    host.hard_link(&keys.path());
    assert!(matches!(read(Owner::Uid(1002)), Err(PortError::Untrusted { .. })));
    host.write_as(&keys.path(), "longer than that", 1002, 0o600);
    assert!(matches!(read(Owner::Uid(1002)), Err(PortError::TooLarge { .. })));
    host.place(&keys.path(), NodeKind::Fifo, 1002);
    assert!(matches!(read(Owner::Uid(1002)), Err(PortError::Untrusted { .. })));
    host.delete("/home/app/.ssh");
    host.place("/home/app/.ssh", NodeKind::Symlink("/root/.ssh".into()), 1002);
    assert!(matches!(read(Owner::Uid(1002)), Err(PortError::Untrusted { .. })));
}

#[test]
fn a_reboot_forgets_the_ruleset_and_run() {
    let host = FakeHost::debian();
    load(&host, TABLE).unwrap();
    let path = ManagedPath::new("/run/tenure/firewall/confirm.json").unwrap();
    host.put(&ManagedFile { path: path.clone(), bytes: vec![], mode: 0o600 }).unwrap();
    let before = host.now();
    host.reboot();
    assert!(host.content(path.as_str()).is_none());
    assert_eq!(host.ask(&Query::NftGeneration).unwrap(), b"0");
    assert_ne!(host.now().boot_id, before.boot_id);
}
