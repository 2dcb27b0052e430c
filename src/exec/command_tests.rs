//! Children that end, do not end, say much, and are given up.

use super::super::lines::OUTPUT_BOUND;
use super::*;

fn sh(script: &str) -> Cmd {
    let mut cmd = Cmd::new("sh");
    cmd.args(["-c", script]);
    cmd
}

#[tokio::test]
async fn a_child_sees_the_allow_list_and_nothing_else() {
    let mut cmd = Cmd::new("env");
    cmd.env("EXTRA", "1");
    let output = cmd.output().await.expect("env runs");
    for line in output.stdout.lines() {
        let name = line.split('=').next().unwrap_or_default();
        let allowed = ALLOWED.iter().chain(&PROXIES).any(|allowed| *allowed == name);
        assert!(allowed || name == "EXTRA", "{name} got through");
    }
    assert!(output.stdout.contains("EXTRA=1"));
}

#[tokio::test]
async fn output_and_exit_code_are_kept() {
    let output = sh("echo out; echo err >&2; exit 3").output().await.expect("runs");
    assert_eq!(output.status.code(), Some(3));
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(output.last_line(), "err");
}

#[tokio::test]
async fn input_arrives() {
    let mut cmd = Cmd::new("cat");
    let output = cmd.stdin("hello\n").output().await.expect("runs");
    assert_eq!(output.stdout, "hello\n");
}

#[tokio::test]
async fn a_reader_is_streamed_to_it_and_its_output_to_a_reader() {
    // More than a pipe holds, both ways at once.
    let mut cmd = Cmd::new("cat");
    cmd.stdin_from(io::repeat(7).take(3 << 20));
    let (output, read) = cmd
        .read_by(|mut stdout| {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).map(|_| bytes)
        })
        .await
        .expect("runs");
    assert!(output.success());
    let bytes = read.expect("reads");
    assert_eq!(bytes.len(), 3 << 20);
    assert!(bytes.iter().all(|byte| *byte == 7));
}

#[tokio::test]
async fn a_reader_that_stops_ends_the_child() {
    let (output, first) = sh("yes")
        .read_by(|mut stdout| {
            let mut first = [0; 1];
            stdout.read_exact(&mut first).map(|()| first)
        })
        .await
        .expect("runs");
    assert!(!output.success());
    assert_eq!(first.expect("reads"), *b"y");
}

#[test]
fn what_it_shows_of_itself_holds_no_value_of_a_variable() {
    let mut cmd = Cmd::new("true");
    cmd.secret_env("KEY", &Secret::new("very-secret".to_owned()));
    let shown = format!("{cmd:?}");
    assert!(shown.contains("KEY") && !shown.contains("very-secret"), "{shown}");
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let error = Cmd::new("no-such-program-here").output().await.expect_err("missing");
    assert!(matches!(error, ExecError::NotFound(name) if name == "no-such-program-here"));
}

#[tokio::test]
async fn a_deadline_ends_the_whole_group() {
    // What a shell runs in the background ignores SIGINT.
    let mut cmd = sh("sleep 600 >/dev/null 2>&1 & echo $!; wait");
    cmd.deadline(Duration::from_millis(500));
    let (error, sleep) = run_to_its_error(&mut cmd).await;
    assert!(matches!(error, ExecError::Deadline { .. }), "{error}");
    is_gone(sleep).await;
}

#[tokio::test]
async fn a_caller_that_stops_waiting_ends_the_whole_group() {
    let mut cmd = sh("sleep 600 >/dev/null 2>&1 & echo $!; wait");
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let run = cmd.lines(|_, line| sender.send(background(line)).expect("is received"));
    let sleep = tokio::select! {
        _ = run => panic!("it does not end by itself"),
        sleep = receiver.recv() => sleep.expect("its number"),
    };
    is_gone(sleep).await;
}

fn background(line: &str) -> crate::exec::ProcessId {
    crate::exec::ProcessId::of(line.parse().expect("a number")).expect("it runs")
}

async fn run_to_its_error(cmd: &mut Cmd) -> (ExecError, crate::exec::ProcessId) {
    let mut sleep = None;
    let ended = cmd.lines(|_, line| sleep = Some(background(line))).await;
    (ended.expect_err("ended"), sleep.expect("its number"))
}

async fn is_gone(process: crate::exec::ProcessId) {
    let gone = crate::exec::wait::until(Duration::from_secs(10), || async {
        (!process.is_alive()).then_some(())
    });
    gone.await.expect("what ran in the background is gone");
}

#[tokio::test]
async fn the_rest_of_a_line_that_is_too_long_is_no_line() {
    let script = "head -c 65530 /dev/zero | tr '\\0' x; printf 'secret-in-the-middle\\rnext\\n'; \
                  head -c 200000 /dev/zero | tr '\\0' y; echo; echo last";
    let mut lines = Vec::new();
    let output = sh(script).lines(|_, line| lines.push(line.to_owned())).await.expect("runs");
    assert!(output.success());
    assert_eq!(lines.len(), 4, "{:?}", lines.iter().map(String::len).collect::<Vec<_>>());
    assert!(lines[0].ends_with("xsecret…"), "the cut shows");
    assert_eq!((lines[1].as_str(), lines[3].as_str()), ("next", "last"));
    assert!(lines[2].ends_with("y…"));
}

#[test]
fn no_value_is_printed_with_a_command() {
    let mut cmd = Cmd::bare("x");
    cmd.secret_env("TOKEN", &Secret::new("hunter2!x")).arg("hunter2!x").stdin("hunter2!x");
    let printed = format!("{cmd:?}");
    assert!(printed.contains("TOKEN") && !printed.contains("hunter2"), "{printed}");
}

#[tokio::test]
async fn cancelling_ends_it() {
    let cancel = CancellationToken::new();
    let mut cmd = sh("echo started; exec sleep 600");
    cmd.cancel_on(&cancel);
    let error = cmd.lines(|_, _| cancel.cancel()).await.expect_err("cancelled");
    assert!(matches!(error, ExecError::Cancelled(_)), "{error}");
}

#[tokio::test]
async fn output_is_bounded_and_keeps_its_end() {
    let output = sh("yes 0123456789 | head -n 300000; echo last").output().await.expect("runs");
    assert!(output.stdout.len() <= OUTPUT_BOUND);
    assert!(output.stdout.ends_with("last\n"));
}
