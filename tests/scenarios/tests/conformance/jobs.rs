//! Jobs: none, refused without a specification, running, refused beside another, gone with its process.

use tenure_areas::port::{Command, Query};
use tenure_trust::RunId;

use crate::script::Script;

/// Stands in for the agent: a job that goes on until it is ended.
const PROGRAM: &str = "mkdir -p /usr/sbin && printf '#!/bin/sh\\nexec sleep 600\\n' > /usr/sbin/tenure-agent \
     && chmod 755 /usr/sbin/tenure-agent";
const SPEC: &str = r#"{"run":"r-1","slot":{"series":{"vault":"vault1","host":"web1","owner":"host","set":"server"},
    "date":"2026-11-22","at":"12:00","manual":true},"request":null,"fleet":"lab","timezone":"UTC",
    "series":{"series":{"vault":"vault1","host":"web1","owner":"host","set":"server"},"at":["12:00"],"paths":[],
    "exclude":[],"dumps":[]},"vault":{"host":"vault1","addresses":[],"port":8022},"databases":{},"dumped":[],
    "foreign":[],"recipients":[],"upload_bytes_per_second":null}"#;

/// The lock is held a moment before the unit is there.
const KILL: &str = "for i in $(seq 100); do systemctl is-active -q tenure-job-r-1 && break; sleep 0.1; done; \
     systemctl kill -s KILL tenure-job-r-1";

pub(crate) fn situations() -> Script {
    let start = || Command::StartJob { run: RunId::new("r-1").expect("a literal") };
    let mut script = crate::fresh("jobs");
    script.aside(PROGRAM);
    script.ask(Query::Job);
    script.tell(start());
    script.put("/var/lib/tenure/jobs/r-1.json", SPEC, 0o600);
    script.tell(start());
    script.ask(Query::Job);
    script.tell(start());
    script.situation("the job's process is killed", KILL, |fake| {
        fake.kill_job();
    });
    // The lock goes with the last process that holds it.
    script.aside("for i in $(seq 100); do pgrep -x systemd-run >/dev/null || break; sleep 0.1; done");
    script.ask(Query::Job);
    script
}
