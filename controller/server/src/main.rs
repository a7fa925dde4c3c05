//! The controller's program: everything is in the library beside it.

fn main() -> std::process::ExitCode {
    tenure_controller::cli::main()
}
