//! `lkpi`: see [`compat_tests::cli`].

fn main() -> std::process::ExitCode {
    compat_tests::cli::main()
}
