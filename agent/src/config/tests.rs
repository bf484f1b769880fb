use std::path::Path;

use super::*;

fn parsed(text: &str) -> Result<Config, ConfigError> {
    let document = Document::parse(text, Path::new("agent.yaml"))?;
    let options = Options::default();
    Config::resolve(document, &options).map_err(|error| error.placed(Path::new("agent.yaml"), text, &options))
}

#[test]
fn the_documented_shape_is_taken() {
    let config = parsed(
        r#"
collector: "https://collector.example.com:4317"
proof: sts
spool: {dir: /var/lib/tenantscope-agent, max_bytes: 512MiB}
sources:
  cloudwatch: {regions: [eu-west-1]}
  logs: {groups: ["/aws/lambda/*"]}
  xray: {}
  otlp: {grpc: "127.0.0.1:4317", http: "127.0.0.1:4318"}
budget_usd_per_month: 1.0
"#,
    )
    .unwrap();
    assert_eq!(config.server_name, "collector.example.com");
    assert_eq!(config.spool.max_bytes, Bytes(512 << 20));
    assert_eq!(config.proof, Proof::Sts);
    assert_eq!(config.collected.sources.cloudwatch.unwrap().regions.len(), 1);
    assert!(config.collected.sources.xray.is_some());
    assert_eq!(config.collected.sources.otlp.unwrap().grpc, Some("127.0.0.1:4317".parse().unwrap()));
}

#[test]
fn unknown_keys_are_errors_with_file_and_line() {
    let error = parsed("collector: \"http://127.0.0.1:4317\"\nsources:\n  cloudwatch:\n    regoins: [eu-west-1]\n");
    let text = error.unwrap_err().to_string();
    assert!(text.starts_with("agent.yaml:4:"), "{text}");
    assert!(text.contains("regoins"), "{text}");
}

#[test]
fn wrong_values_name_what_was_expected() {
    for (text, expected) in [
        ("collector: \"https://c:4317\"\nspool: {max_bytes: 12parsecs}", "agent.yaml:2"),
        ("collector: \"collector:4317\"", "http"),
        ("spool: {}", "collector: is not set"),
        ("collector: \"https://c:4317\"\nsources: {}", "no source is named"),
        ("collector: \"https://c:4317\"\nsources: {xray: off}", "no source is on"),
        ("collector: \"https://c:4317\"\nsources: {otlp: {}}", "needs an address"),
        ("collector: \"https://c:4317\"\nproof: token", "agent.yaml:2: proof: token needs token_file or token_env"),
        ("collector: \"https://c:4317\"\nproof: jwt", "agent.yaml:2: proof: jwt needs token_file"),
        (
            "collector: \"https://c:4317\"\nproof: jwt\ntoken_file: /nowhere/token",
            "agent.yaml:3: token_file: /nowhere/token",
        ),
        ("collector: \"https://c:4317\"\nproof: certificate", "agent.yaml:2: proof: certificate needs tls.cert"),
        ("collector: \"https://c:4317\"\ntls:\n  cert: /x", "agent.yaml:3: tls.cert: needs tls.key"),
        ("collector: \"https://c:4317\"\ntls:\n  ca: /nowhere/ca.pem", "agent.yaml:3: tls.ca: /nowhere/ca.pem"),
        ("collector: \"https://c:4317\"\ninterval: 10ms", "agent.yaml:2: interval: 10ms is not between"),
        ("collector: \"https://c:4317\"\nspool:\n  max_bytes: 1KiB", "agent.yaml:3: spool.max_bytes: is less"),
        ("name: a\ncollector: \"http://c:4317\"", "agent.yaml:2: collector: proofs and tokens would go over a network"),
        ("collector: \"https://c:4317\"\ndata_dir: x", "agent.yaml:2: this looks like the collector's configuration"),
        ("# nothing", "agent.yaml: collector: is not set"),
        ("collector: \"https://c:4317\"\nname: \"a b\"", "name:"),
        ("collector: \"https://c:4317/x\"", "no path"),
        (
            "collector: \"https://c:4317\"\nsources:\n  cloudwatch:\n    statistics: [{namespace: X, statistics: [Median]}]",
            "Median",
        ),
    ] {
        let error = parsed(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn plain_text_goes_to_loopback_or_through_a_proxy_or_without_a_proof() {
    for text in [
        "collector: \"http://127.0.0.1:4317\"",
        "collector: \"http://[::1]:4317\"",
        "collector: \"http://localhost:4317\"",
        "collector: \"http://c:4317\"\nplain_text: behind_a_proxy",
        "collector: \"http://c:4317\"\nproof: none",
    ] {
        assert!(parsed(text).is_ok(), "{text}");
    }
    let error = parsed("collector: \"http://c:4317\"\nplain_text: anywhere").unwrap_err().to_string();
    assert!(error.contains("plain_text: \"anywhere\" is none of loopback, behind_a_proxy"), "{error}");
}

#[test]
fn a_short_token_is_told_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "hunter2\n").unwrap();
    let text = format!("collector: \"https://c:4317\"\nproof: token\ntoken_file: {}", file.display());
    let error = parsed(&text).unwrap_err().to_string();
    assert!(error.starts_with("agent.yaml:3: token_file: the token is shorter than 8 characters"), "{error}");
    assert!(!error.contains("hunter2"));
}

#[test]
fn a_wrong_option_is_told_by_its_name_and_variable_and_not_by_the_files_line() {
    let text = "collector: \"https://c:4317\"\nspool: {max_bytes: 1GiB}";
    let options = Options { spool_max_bytes: Some(Bytes(1)), ..Options::default() };
    let error = Config::resolve(Document::parse(text, Path::new("a")).unwrap(), &options).unwrap_err();
    let told = error.placed(Path::new("a"), text, &options).to_string();
    assert_eq!(told, "spool.max_bytes: is less than 1MiB (--spool-max-bytes or TENANTSCOPE_SPOOL_MAX_BYTES)");
}

#[test]
fn regions_and_interval_of_the_file_are_those_of_sources_that_name_none() {
    let config = parsed(
        "collector: \"https://c:4317\"\nregions: [eu-west-1]\ninterval: 2m\nsources: {logs: {}, xray: {interval: 5s, regions: [us-east-1]}}",
    );
    let sources = config.unwrap().collected.sources;
    let (logs, xray) = (sources.logs.unwrap(), sources.xray.unwrap());
    assert_eq!((logs.regions[0].as_str(), logs.interval), ("eu-west-1", TimeSpan::from_secs(120)));
    assert_eq!((xray.regions[0].as_str(), xray.interval), ("us-east-1", TimeSpan::from_secs(5)));
}

#[test]
fn an_option_turns_its_source_on_and_counts_before_the_file() {
    let document = Document::parse("collector: \"https://c:4317\"\nsources: {xray: {}}", Path::new("a")).unwrap();
    let options = Options {
        collector: Some("http://127.0.0.1:9".to_owned()),
        otlp_grpc: Some("127.0.0.1:0".parse().unwrap()),
        ..Options::default()
    };
    let config = Config::resolve(document, &options).unwrap();
    assert_eq!(config.collector.host(), Some("127.0.0.1"));
    assert!(config.collected.sources.otlp.is_some());
    assert!(config.collected.sources.cloudwatch.is_none());
}

#[test]
fn the_collectors_document_counts_before_the_file_and_options_before_both() {
    let text = "collector: \"https://c:4317\"\nbudget_usd_per_month: 2\nsources: {xray: {}, logs: {interval: 5m}}";
    let document = Document::parse(text, Path::new("a")).unwrap();
    let options = Options { logs_groups: Some(vec!["/own/*".to_owned()]), ..Options::default() };
    let config = Config::resolve(document, &options).unwrap();
    let with = |json: &str| config.collected_with(serde_json::from_str(json).unwrap()).unwrap();

    let replaced = with(r#"{"sources": {"logs": {"interval": "1m", "groups": ["/theirs/*"]}}}"#);
    assert!(replaced.sources.xray.is_some(), "what the document does not name stays");
    let logs = replaced.sources.logs.unwrap();
    assert_eq!((logs.interval, logs.groups), (TimeSpan::from_secs(60), vec![Glob::new("/own/*")]));
    assert_eq!(replaced.budget_usd_per_month, Some(2.0));

    let off = with(r#"{"sources": {"xray": null}}"#).sources;
    assert!(off.xray.is_none());
    assert_eq!(off.logs.unwrap().interval, TimeSpan::from_secs(300));

    let only_budget = with(r#"{"budget_usd_per_month": 9}"#);
    assert_eq!(only_budget.sources, config.collected.sources);
    assert_eq!(only_budget.budget_usd_per_month, Some(9.0));
    assert_eq!(with(r#"{"enabled": false}"#).sources, Sources::default());
}

#[test]
fn an_agent_may_be_set_up_to_collect_nothing_until_it_is_told_to() {
    let config = parsed("collector: \"https://c:4317\"\nenabled: false\n").unwrap();
    assert_eq!(config.collected.sources, Sources::default());
    let told = config.collected_with(serde_json::from_str(r#"{"sources": {"xray": {}}}"#).unwrap()).unwrap();
    assert!(told.sources.xray.is_some() && told.sources.logs.is_none());
}

#[test]
fn a_document_may_switch_off_the_last_source_and_says_nothing_of_the_default_ones() {
    let config = parsed("collector: \"https://c:4317\"\n").unwrap();
    let with = |json: &str| config.collected_with(serde_json::from_str(json).unwrap()).unwrap().sources;
    let sources = with(r#"{"sources": {"otlp": {"grpc": "127.0.0.1:4317"}}}"#);
    assert!(sources.otlp.is_some() && sources.cloudwatch.is_some() && sources.logs.is_some() && sources.xray.is_some());
    assert_eq!(with(r#"{"sources": {"cloudwatch": null, "logs": null, "xray": null}}"#), Sources::default());
}
