//! Foreign clients: plain TCP connections from one host to another, judged by what came back.

use tenure_lab::{Family, Host};

use crate::Result;

/// What a TCP connection met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Connected, and the other side said something.
    Answers,
    /// A reset or an ICMP error came back at once.
    Refused,
    /// Nothing came back within the limit.
    Silent,
}

/// The ports on which every host of a fleet has a listener, on both families.
pub const LISTENED: [u16; 6] = [80, 443, 5432, 8443, 9000, 25];

/// What serves them: a line on every connection, then the end. Kept by systemd, so it is there after a boot.
pub const LISTENER: &str = r#"import asyncio, sys
async def hello(reader, writer):
    port = writer.get_extra_info("sockname")[1]
    writer.write(b"lab listener %d\n" % port)
    await writer.drain()
    # A session stays open until the other side ends it: whoever wants one sends a line and gets it back.
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()
async def main():
    for port in sys.argv[1:]:
        await asyncio.start_server(hello, None, int(port))
    await asyncio.Event().wait()
asyncio.run(main())
"#;

/// The unit of the listener on a host; vault1's port 80 is the package archive's, and 5432 a real PostgreSQL's where one
/// is installed.
#[must_use]
pub fn listener_unit(host: &str, postgresql: bool) -> String {
    let taken = |port: u16| (host == "vault1" && port == 80) || (postgresql && port == 5432);
    let free = LISTENED.iter().filter(|port| !taken(**port));
    let ports = free.map(ToString::to_string).collect::<Vec<_>>().join(" ");
    format!(
        "[Unit]\nDescription=Listeners of the lab\n[Service]\nExecStart=/usr/bin/python3 /usr/local/lib/lab-listener.py \
         {ports}\n[Install]\nWantedBy=multi-user.target\n"
    )
}

/// Connects from one host to a port of another and waits at most two seconds for an answer.
///
/// # Errors
/// When the lab itself fails.
pub fn reach(from: &Host, to: &Host, port: u16, family: Family) -> Result<Reach> {
    reach_as(from, "root", to, port, family)
}

/// The same as a user of the client host.
///
/// # Errors
/// When the lab itself fails, or the client ended in a way that says nothing.
pub fn reach_as(from: &Host, user: &str, to: &Host, port: u16, family: Family) -> Result<Reach> {
    let address = to.address(family)?;
    let port = port.to_string();
    let code = "import socket,sys\n\
                try:\n\
                \x20s=socket.create_connection((sys.argv[1],int(sys.argv[2])),2.0)\n\
                \x20s.settimeout(2.0)\n\
                \x20s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')\n\
                \x20sys.exit(0 if s.recv(64) else 4)\n\
                except (TimeoutError,socket.timeout): sys.exit(3)\n\
                except OSError as e: print(e); sys.exit(2)\n";
    let argv = ["runuser", "-u", user, "--", "python3", "-c", code, &address, &port];
    let output = from.exec(&argv)?;
    match output.status {
        0 => Ok(Reach::Answers),
        2 => Ok(Reach::Refused),
        3 => Ok(Reach::Silent),
        _ => Err(format!("client on {} to {address} port {port}: {output:?}", from.name()).into()),
    }
}

/// One line of a matrix: from, to, port, and what it must meet on both families.
#[derive(Debug, Clone, Copy)]
pub struct Expect<'a> {
    /// Client host.
    pub from: &'a Host,
    /// User of the client host.
    pub user: &'a str,
    /// Server host.
    pub to: &'a Host,
    /// TCP port.
    pub port: u16,
    /// What it must meet.
    pub meets: Reach,
}

/// Tries every line on IPv4 and IPv6, at the same time, and returns what went otherwise.
#[must_use]
pub fn differences(matrix: &[Expect<'_>]) -> Vec<String> {
    let tries: Vec<(Expect<'_>, Family)> =
        matrix.iter().flat_map(|line| Family::BOTH.map(|family| (*line, family))).collect();
    let judged = std::thread::scope(|scope| {
        let running: Vec<_> =
            tries.iter().map(|(line, family)| scope.spawn(move || difference(line, *family))).collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("a client thread does not panic"))
            .collect::<Vec<_>>()
    });
    judged.into_iter().flatten().collect()
}

fn difference(line: &Expect<'_>, family: Family) -> Option<String> {
    let way =
        format!("{} ({}) → {} port {} {family:?}", line.from.name(), line.user, line.to.name(), line.port);
    match reach_as(line.from, line.user, line.to, line.port, family) {
        Ok(met) if met == line.meets => None,
        Ok(met) => Some(format!("{way}: {met:?}, expected {:?}", line.meets)),
        Err(why) => Some(format!("{way}: {why}")),
    }
}
