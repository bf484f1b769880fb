use super::*;
use tenantscope_model::{EvaluateError, Evaluated};

struct Fixed(Vec<Evaluated>);

impl Evaluate for Fixed {
    fn evaluate(&self, scope: &Scope, _: &str, _: i64) -> Result<Vec<Evaluated>, EvaluateError> {
        Ok(self.0.iter().filter(|e| scope.allows_text(e.labels.get("tenant").unwrap_or(""))).cloned().collect())
    }
}

fn expand_with(text: &str, value: f64, scope: &Scope) -> Result<String, TemplateError> {
    let element = |tenant, instance, value| Evaluated {
        labels: Labels::from_pairs([("tenant", tenant), ("instance", instance)]),
        value,
    };
    let evaluate = Fixed(vec![element("acme", "b", 2.0), element("acme", "a", 1.0), element("other", "c", 3.0)]);
    let labels = Labels::from_pairs([("tenant", "acme"), ("job", "api gateway")]);
    let external = BTreeMap::from([("cluster".to_owned(), "eu".to_owned())]);
    let data = TemplateData {
        labels: &labels,
        value,
        external_labels: &external,
        external_url: "https://scope.example/x",
        evaluate: &evaluate,
        scope,
        at_ms: 1_435_065_584_128,
    };
    Template::parse(text)?.expand(&data)
}

fn expand(text: &str, value: f64) -> String {
    expand_with(text, value, &Scope::All).unwrap_or_else(|error| format!("error: {error}"))
}

#[test]
fn values_and_pipes() {
    for (text, value, want) in [
        ("plain", 0.0, "plain"),
        ("{{ $labels.tenant }} at {{ $value }}", 0.25, "acme at 0.25"),
        ("{{ .Labels.job | title }}/{{ .Value }}", 1e6, "Api Gateway/1e+06"),
        ("{{ $labels.missing }}|{{ $externalLabels.cluster }}", 0.0, "|eu"),
        ("{{ $value | humanize }}", 1_234_567.0, "1.235M"),
        ("{{ $value | humanize }}", 0.0123, "12.3m"),
        ("{{ humanize1024 $value }}", 1_048_576.0, "1Mi"),
        ("{{ $value | humanizePercentage }}", 0.123_456, "12.35%"),
        ("{{ $value | humanizeDuration }}", 93_784.0, "1d 2h 3m 4s"),
        ("{{ $value | humanizeDuration }}", 0.02, "20ms"),
        ("{{ $value | humanizeTimestamp }}", 1_435_065_584.128, "2015-06-23 13:19:44.128 +0000 UTC"),
        (r#"{{ printf "%.2f%% of %s" $value $labels.job }}"#, 12.345, "12.35% of api gateway"),
        (r#"{{ $value | printf "%6.1f|" }}"#, 3.25, "   3.2|"),
        (r#"{{ reReplaceAll "(a.*) (.*)" "$2-$1" $labels.job }}"#, 0.0, "gateway-api"),
        (r#"{{ if match "^api" .Labels.job }}yes{{ else }}no{{ end }}"#, 0.0, "yes"),
        ("{{ toUpper $labels.tenant }}{{ \"X\" | toLower }}", 0.0, "ACMEx"),
        ("{{ externalURL }}{{ pathPrefix }}", 0.0, "https://scope.example/x/x"),
        ("a {{- /* not shown */ -}} b {{- $value -}} c", 1.0, "ab1c"),
        (r#"{{ stripPort "h:80" }} {{ stripDomain "a.b.c:80" }}"#, 0.0, "h a:80"),
        (r#"{{ parseDuration "1h" }} {{ now }}"#, 0.0, "3600 1.435065584128e+09"),
    ] {
        assert_eq!(expand(text, value), want, "{text}");
    }
}

#[test]
fn blocks_and_queries() {
    for (text, want) in [
        ("{{ if gt $value 2.5 }}high{{ else if gt $value 1.0 }}middle{{ else }}low{{ end }}", "middle"),
        ("{{ with $labels.job }}{{ . }}{{ end }}{{ with $labels.none }}x{{ else }}none{{ end }}", "api gatewaynone"),
        (r#"{{ $x := "a" }}{{ if true }}{{ $x = "b" }}{{ end }}{{ $x }}"#, "b"),
        (r#"{{ range query "up" }}{{ .Labels.instance }}={{ .Value }};{{ end }}"#, "b=2;a=1;c=3;"),
        (
            r#"{{ range $i, $e := sortByLabel "instance" (query "up") }}{{ $i }}{{ $e.Labels.instance }} {{ end }}"#,
            "0a 1b 2c ",
        ),
        (r#"{{ query "up" | first | value }} {{ query "up" | first | label "instance" }}"#, "2 b"),
        (r#"{{ with query "up" }}{{ . | first | value | humanize }}{{ end }}"#, "2"),
        (r#"{{ range query "up" }}{{ if eq .Value 1.0 }}{{ break }}{{ end }}{{ .Value }}{{ end }}"#, "2"),
        (r#"{{ (first (query "up")).Labels.instance }}{{ len (query "up") }}"#, "b3"),
        (r#"{{ and true $labels.tenant }}{{ or "" "z" }}{{ not true }}"#, "acmezfalse"),
    ] {
        assert_eq!(expand(text, 2.0), want, "{text}");
    }
}

#[test]
fn a_query_sees_the_scope_that_it_is_given() {
    let scope = Scope::only("acme".parse().unwrap());
    let text = r#"{{ range query "up" }}{{ .Labels.instance }}{{ end }}"#;
    assert_eq!(expand_with(text, 0.0, &scope).unwrap(), "ba");
}

#[test]
fn mistakes_are_found_when_the_template_is_checked() {
    let unknown = |text| Template::parse(text).unwrap_err();
    assert_eq!(unknown("{{ humanise $value }}"), TemplateError::UnknownFunction("humanise".to_owned()));
    assert_eq!(unknown("{{ $valeu }}"), TemplateError::UndefinedVariable("$valeu".to_owned()));
    for wrong in ["{{ $value", "{{ if $value }}x", "{{ end }}", "{{ }}", "{{ \"a }}", "{{ ($value }}", "{{ break }}"] {
        assert!(Template::parse(wrong).is_err(), "{wrong}");
    }
    let deep = format!("{}{}", "{{ if true }}".repeat(80), "{{ end }}".repeat(80));
    assert_eq!(unknown(&deep), TemplateError::TooDeep);
}

#[test]
fn floats_print_as_in_go() {
    for (value, want) in [(0.0, "0"), (100_000.0, "100000"), (1e-5, "1e-05"), (0.1, "0.1"), (-12.5, "-12.5")] {
        assert_eq!(format::go_float(value, 'g', None), want);
    }
    assert_eq!(format::go_float(999.96, 'g', Some(4)), "1000");
    assert_eq!(format::go_float(123_456.0, 'g', Some(4)), "1.235e+05");
    assert_eq!(format::go_float(f64::INFINITY, 'g', None), "+Inf");
}
