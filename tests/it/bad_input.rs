//! Input that breaks a rule: each is refused with the setting, the rule and the remedy, exits 2,
//! and leaves nothing behind.

use std::fs;

use crate::support::product::{Product, Run};

/// Nothing was begun: no deployment, no process, no file of one.
#[track_caller]
fn nothing_left(product: &Product) {
    product.assert_nothing_runs();
    assert!(!product.home().join("deployments").exists());
    let list = product.json(["list"]);
    assert_eq!(list["items"], serde_json::json!([]));
}

#[track_caller]
fn refused(run: Run, says: &[&str]) {
    let done = run.code(2);
    for words in says {
        done.says(words);
    }
    done.says("to do: ");
    assert_eq!(done.stdout, "");
    assert!(done.stderr.len() < 2000, "bounded: {}", done.stderr.len());
}

fn launch(product: &Product) -> Run {
    product.run(["launch", "--target", "process"])
}

#[test]
fn names() {
    let product = Product::new();
    let long = "a".repeat(41);
    for name in ["Main", "-a", "a-", "a b", "a_b", "ä", "../x", "a/b", "a;id", "", &long] {
        let done = product.run(["launch", "--target", "process", "--", name]).code(2);
        done.says("1 to 40 of a-z, 0-9 and -");
        product.run(["status", "--", name]).code(2);
    }
    // Named by the environment it may be the system's, and by a file it is the user's.
    let done = launch(&product).env("NAME", "MY-LAPTOP.local").env("name", "").ok();
    done.says("NAME=\"MY-LAPTOP.local\" in the environment is no deployment name");
    product.run(["destroy", "main", "--yes"]).ok();
    fs::write(product.work().join(".env"), "NAME=My_Name\n").expect("written");
    refused(launch(&product), &["NAME: ", ".env line 1"]);
    fs::remove_file(product.work().join(".env")).expect("removed");
    let longest = "a".repeat(40);
    product.run(["launch", &longest, "--target", "process"]).ok();
    product.assert_one_gateway(&longest);
}

#[test]
fn settings_by_flag_and_by_environment() {
    let product = Product::new();
    let cases: [(&str, &str, &[&str], &str); 12] = [
        ("--port", "GATEWAY_PORT", &["0", "abc", "70000", "-1", "80 "], "a number from 1 to 65535"),
        ("--bind", "GATEWAY_BIND", &["localhost", "::", "1.2.3"], "GATEWAY_BIND is"),
        ("--model", "DEFAULT_MODEL", &["nobody-knows", "a b", "x/", "$(id)"], "model"),
        ("--provider", "DEFAULT_PROVIDER", &["Open AI", "a/b"], "DEFAULT_PROVIDER is 1 to 64"),
        ("--exec-ask", "EXEC_ASK", &["maybe", "ask"], "EXEC_ASK"),
        ("--heartbeat", "HEARTBEAT", &["30", "1d", "1h30m"], "HEARTBEAT is off, or whole minutes"),
        ("--image", "OPENCLAW_PIPELINE_IMAGE", &["Bad Image", "x;y", "a//b"], "IMAGE"),
        ("--version", "OPENCLAW_PIPELINE_VERSION", &["latest", "^1", "2026.13.1"], "exact version"),
        ("--memory", "OPENCLAW_PIPELINE_MEMORY", &["lots", "768", "2t"], "MEMORY"),
        ("--approval", "OPENCLAW_PIPELINE_APPROVAL", &["yes", "always"], "auto, ask or off"),
        ("--approval-window", "OPENCLAW_PIPELINE_APPROVAL_WINDOW", &["0", "2h", "x"], "WINDOW"),
        ("--approval-devices", "OPENCLAW_PIPELINE_APPROVAL_DEVICES", &["0", "21"], "DEVICES"),
    ];
    for (flag, variable, values, rule) in cases {
        for value in values {
            refused(launch(&product).arg(&format!("{flag}={value}")), &[rule, "command line"]);
            refused(launch(&product).env(variable, *value), &[rule, "environment"]);
        }
    }
    refused(launch(&product).env("SKIP_APPROVAL", "maybe"), &["SKIP_APPROVAL is true or false"]);
    nothing_left(&product);
}

#[test]
fn a_model_whose_provider_has_no_key() {
    let product = Product::new();
    refused(
        launch(&product).arg("--model=openai/gpt-5.5"),
        &["DEFAULT_MODEL is openai/gpt-5.5, and no credential of openai", "set OPENAI_API_KEY"],
    );
    nothing_left(&product);
}

#[test]
fn tokens_and_keys_are_refused_unseen() {
    let product = Product::new();
    let long = "x".repeat(513);
    for token in ["short-s3cr3t", "s3cr3t-with\nnewline-in-it", "s3cr3t with blanks 123", &long] {
        let done = launch(&product).env("OPENCLAW_GATEWAY_TOKEN", token).code(2);
        done.says("OPENCLAW_GATEWAY_TOKEN is 16 to 512 printable ASCII characters");
        done.says("openssl rand -hex 32").says("from: environment");
        assert!(!done.stderr.contains("s3cr3t"), "{}", done.stderr);
    }
    for key in ["sk-s3cr3t\n", "'sk-s3cr3t'", "sk s3cr3t", "sk-s3cr3t-ä"] {
        let done = launch(&product).env("ANTHROPIC_API_KEY", key).code(2);
        done.says("ANTHROPIC_API_KEY is 1 to 4096 printable ASCII characters");
        assert!(!done.stderr.contains("s3cr3t"), "{}", done.stderr);
    }
    nothing_left(&product);
}

#[test]
fn an_env_file_is_read_as_people_write_it() {
    let product = Product::new();
    let (port, other) = (product.port(), crate::support::ports::free_port());
    let text = "\u{feff}# a comment\r\nexport ANTHROPIC_API_KEY=\"sk-ant-quoted\"\r\n\
                OPENAI_API_KEY = 'sk openai'  # no\r\n";
    fs::write(product.work().join(".env"), text).expect("written");
    // Blanks inside a key are wrong, whatever quotes it has; the line is named.
    refused(launch(&product), &["OPENAI_API_KEY", "has a blank", ".env line 3"]);
    let text = format!(
        "\u{feff}# a comment\r\n  export ANTHROPIC_API_KEY=\"sk-ant-quoted\"\r\n\
         OPENAI_API_KEY = 'sk-openai-$x'  # kept as it is\r\nGATEWAY_PORT={other}\r\n\
         GATEWAY_PORT=\"{port}\"\r\nGATEWAY_PROT=1\r\nSOMETHING_ELSE=2\r\nEXEC_ASK=\r\n"
    );
    fs::write(product.work().join(".env"), text).expect("written");
    let done = launch(&product).without("GATEWAY_PORT").ok();
    done.says("GATEWAY_PORT is set on line 4 and again on line 5; line 5 is used");
    done.says("line 6: GATEWAY_PROT is not a setting; did you mean GATEWAY_PORT?");
    done.says("SOMETHING_ELSE (line 7)").says("OPENCLAW_ENV_FILE");
    done.says("other users can read it; run: chmod 600");
    product.assert_one_gateway("main");
    let pid = product.gateway("main").expect("a gateway");
    let environment = fs::read_to_string(format!("/proc/{pid}/environ")).expect("readable");
    for pair in ["ANTHROPIC_API_KEY=sk-ant-quoted", "OPENAI_API_KEY=sk-openai-$x"] {
        assert!(environment.split('\0').any(|it| it == pair), "{pair}");
    }
    assert!(!environment.contains("SOMETHING_ELSE"));
}

#[test]
fn an_env_file_that_cannot_be_read_says_where() {
    let product = Product::new();
    for (text, says) in [
        ("A=1\nOPENAI_API_KEY=\"s3cr3t\n", "line 2: a value that begins with a quote"),
        ("s3cr3t\n", "line 1: a line is KEY=VALUE"),
        ("1S3CR3T=x\n", "line 1: a key is letters, digits and _"),
        ("A='x' s3cr3t\n", "line 1: behind a closing quote"),
        ("A=\"\\q s3cr3t\"\n", "line 1: inside double quotes a backslash"),
        ("A=s3cr3t\0\n", "line 1: a line has no control character"),
    ] {
        fs::write(product.work().join(".env"), text).expect("written");
        let done = launch(&product).code(2);
        done.says(says).says(".env").says("to do: ");
        assert!(!done.stderr.to_lowercase().contains("s3cr3t"), "{}", done.stderr);
    }
    fs::write(product.work().join(".env"), [0xff, 0xfe, 0x41]).expect("written");
    refused(launch(&product), &["is not UTF-8 text", "UTF-16"]);
    fs::remove_file(product.work().join(".env")).expect("removed");
    nothing_left(&product);
}

#[test]
fn further_variables_are_checked() {
    let product = Product::new();
    for (pair, says) in [
        ("NOEQUALS", "--env takes KEY=VALUE"),
        ("PATH=/x", "it says how the gateway is run"),
        ("NODE_OPTIONS=--require=/x", "it says how the gateway is run"),
        ("OPENCLAW_STATE_DIR=/x", "it says how the gateway is run"),
        ("ANTHROPIC_API_KEY=x", "it is a setting of this program"),
        ("1X=y", "has a name of letters, digits and _"),
    ] {
        refused(launch(&product).arg("--env").arg(pair), &[says]);
    }
    refused(launch(&product).arg("--env-file=missing"), &["OPENCLAW_ENV_FILE", "does not exist"]);
    fs::write(product.work().join("vars"), "TELEGRAM_BOT_TOKEN=1:x\nLD_PRELOAD=/x\n").expect("it");
    refused(launch(&product).arg("--env-file=vars"), &["vars line 2", "LD_PRELOAD"]);
    nothing_left(&product);
}

#[test]
fn a_broken_openclaw_json() {
    let product = Product::new();
    let path = product.work().join("openclaw.json");
    for (text, says) in [
        ("{ gateway: ", "openclaw.json cannot be read as JSON5"),
        ("[1, 2]", "openclaw.json is not an object"),
        ("\"s3cr3t\"", "openclaw.json is not an object"),
    ] {
        fs::write(&path, text).expect("written");
        refused(launch(&product), &[says]);
        assert_eq!(fs::read_to_string(&path).expect("there"), text);
    }
    fs::write(&path, " ".repeat((1 << 20) + 1)).expect("written");
    refused(launch(&product), &["openclaw.json is larger than 1 MiB"]);
    fs::write(&path, [0xff, 0xfe]).expect("written");
    let done = launch(&product).code(2);
    done.says("openclaw.json cannot be read");
    fs::remove_file(&path).expect("removed");
    nothing_left(&product);
    // A whole one is taken over, and its owner's file is not touched.
    let text = "// mine\n{ channels: { telegram: { enabled: true } }, }\n";
    fs::write(&path, text).expect("written");
    launch(&product).ok();
    assert_eq!(fs::read_to_string(&path).expect("there"), text);
    let config = fs::read_to_string(product.state("main").join("openclaw.json")).expect("there");
    assert!(config.contains("telegram"), "{config}");
}

#[test]
fn usage() {
    let product = Product::new();
    for args in [["no-such-command", "x"], ["launch", "--no-such-flag"], ["logs", "--tail=many"]] {
        product.run(args).code(2).says("--help");
    }
    product.run(["launch", "--target=mars"]).code(2).says("target");
    product.run(["completions", "--"]).code(2);
    product.run(["--version"]).ok().answers("openclaw-pipeline 0.");
    product.run(["--help"]).ok().answers("Usage: openclaw-pipeline");
    product.run(["operations", "show", "no-such-id"]).code(3).says("there is no operation");
    nothing_left(&product);
}
