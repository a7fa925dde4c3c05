//! The vault's program: everything is in the library beside it.

fn main() -> std::process::ExitCode {
    tenure_vault::cli::main()
}
