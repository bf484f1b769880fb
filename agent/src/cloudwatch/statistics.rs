//! Which statistics are asked for: the configuration's rules first, then this table, then `Average, Sum, Maximum`.
//!
//! Each statistic of each metric costs money, so the table asks for what dashboards and alerts of a service use:
//! counts as `Sum`, times as `Average, Maximum, p99` where percentiles exist, levels as `Average, Maximum`.

use std::time::Duration;

use crate::config::{Statistic, StatisticsRule};

/// What is asked for of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice<'a> {
    /// The statistics' names; none: the metric is left out.
    pub statistics: &'a [&'a str],
    /// The period.
    pub period: Duration,
}

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

const SUM: &[&str] = &["Sum"];
const LEVEL: &[&str] = &["Average", "Maximum"];
const MAXIMUM: &[&str] = &["Maximum"];
const AVERAGE: &[&str] = &["Average"];
const TIME: &[&str] = &["Average", "Maximum", "p99"];
const COUNTED_TIME: &[&str] = &["Average", "Maximum", "SampleCount", "Sum"];
const OTHER: &[&str] = &["Average", "Sum", "Maximum"];

/// A namespace's metrics, each with its statistics; a metric that is not listed has the namespace's last entry, `*`.
type Table = &'static [(&'static str, &'static [&'static str])];

const LAMBDA: Table = &[
    ("Duration", TIME),
    ("PostRuntimeExtensionsDuration", TIME),
    ("ConcurrentExecutions", MAXIMUM),
    ("UnreservedConcurrentExecutions", MAXIMUM),
    ("ProvisionedConcurrentExecutions", MAXIMUM),
    ("ProvisionedConcurrencyUtilization", MAXIMUM),
    ("ClaimedAccountConcurrency", MAXIMUM),
    ("IteratorAge", MAXIMUM),
    ("OffsetLag", MAXIMUM),
    ("AsyncEventAge", MAXIMUM),
    ("*", SUM),
];
const DYNAMODB: Table = &[
    ("SuccessfulRequestLatency", COUNTED_TIME),
    ("ReplicationLatency", LEVEL),
    ("ProvisionedReadCapacityUnits", AVERAGE),
    ("ProvisionedWriteCapacityUnits", AVERAGE),
    ("ReturnedItemCount", SUM),
    ("AccountProvisionedReadCapacityUtilization", MAXIMUM),
    ("AccountProvisionedWriteCapacityUtilization", MAXIMUM),
    ("MaxProvisionedTableReadCapacityUtilization", MAXIMUM),
    ("MaxProvisionedTableWriteCapacityUtilization", MAXIMUM),
    ("*", SUM),
];
const SQS: Table = &[
    ("ApproximateAgeOfOldestMessage", MAXIMUM),
    ("ApproximateNumberOfMessagesVisible", LEVEL),
    ("ApproximateNumberOfMessagesNotVisible", LEVEL),
    ("ApproximateNumberOfMessagesDelayed", LEVEL),
    ("SentMessageSize", AVERAGE),
    ("*", SUM),
];
const API_GATEWAY: Table = &[("Latency", TIME), ("IntegrationLatency", TIME), ("*", SUM)];
const ECS: Table = &[
    ("CPUUtilization", LEVEL),
    ("MemoryUtilization", LEVEL),
    ("CPUReservation", AVERAGE),
    ("MemoryReservation", AVERAGE),
    ("RunningTaskCount", AVERAGE),
    ("TargetResponseTime", TIME),
    ("*", LEVEL),
];
const RDS: Table = &[
    ("ReadLatency", LEVEL),
    ("WriteLatency", LEVEL),
    ("FreeStorageSpace", &["Minimum"]),
    ("FreeableMemory", &["Average", "Minimum"]),
    ("CPUCreditBalance", &["Minimum"]),
    ("BurstBalance", &["Minimum"]),
    ("Deadlocks", SUM),
    ("*", LEVEL),
];
const S3: Table = &[("FirstByteLatency", TIME), ("TotalRequestLatency", TIME), ("*", SUM)];
const APPLICATION_ELB: Table =
    &[("TargetResponseTime", TIME), ("HealthyHostCount", &["Minimum"]), ("UnHealthyHostCount", MAXIMUM), ("*", SUM)];
const KINESIS: Table = &[
    ("GetRecords.IteratorAgeMilliseconds", MAXIMUM),
    ("GetRecords.Latency", LEVEL),
    ("PutRecord.Latency", LEVEL),
    ("PutRecords.Latency", LEVEL),
    ("*", SUM),
];
const STATES: Table = &[
    ("ExecutionTime", TIME),
    ("ActivityRunTime", TIME),
    ("ActivityScheduleTime", LEVEL),
    ("ActivityTime", TIME),
    ("LambdaFunctionRunTime", TIME),
    ("LambdaFunctionScheduleTime", LEVEL),
    ("LambdaFunctionTime", TIME),
    ("OpenExecutionCount", MAXIMUM),
    ("*", SUM),
];
const SNS: Table = &[("PublishSize", AVERAGE), ("SMSSuccessRate", AVERAGE), ("*", SUM)];
const EVENTS: Table =
    &[("IngestionToInvocationStartLatency", LEVEL), ("IngestionToInvocationCompleteLatency", LEVEL), ("*", SUM)];
const EC2: Table = &[
    ("NetworkIn", SUM),
    ("NetworkOut", SUM),
    ("NetworkPacketsIn", SUM),
    ("NetworkPacketsOut", SUM),
    ("CPUCreditBalance", &["Minimum"]),
    ("StatusCheckFailed", MAXIMUM),
    ("StatusCheckFailed_Instance", MAXIMUM),
    ("StatusCheckFailed_System", MAXIMUM),
    ("*", LEVEL),
];

fn table(namespace: &str) -> Option<Table> {
    Some(match namespace {
        "AWS/Lambda" => LAMBDA,
        "AWS/DynamoDB" => DYNAMODB,
        "AWS/SQS" => SQS,
        "AWS/ApiGateway" => API_GATEWAY,
        "AWS/ECS" => ECS,
        "AWS/RDS" => RDS,
        "AWS/S3" => S3,
        "AWS/ApplicationELB" => APPLICATION_ELB,
        "AWS/Kinesis" => KINESIS,
        "AWS/States" => STATES,
        "AWS/SNS" => SNS,
        "AWS/Events" => EVENTS,
        "AWS/EC2" => EC2,
        _ => return None,
    })
}

/// The built-in choice for a metric.
pub(super) fn default_choice(namespace: &str, metric: &str) -> Choice<'static> {
    // S3's storage metrics come once a day.
    if namespace == "AWS/S3" && matches!(metric, "BucketSizeBytes" | "NumberOfObjects") {
        return Choice { statistics: AVERAGE, period: DAY };
    }
    let statistics = table(namespace).and_then(|entries| {
        let listed = entries.iter().find(|(name, _)| *name == metric || *name == "*");
        listed.map(|(_, statistics)| *statistics)
    });
    Choice { statistics: statistics.unwrap_or(OTHER), period: MINUTE }
}

/// The statistics and the period of a metric.
pub(super) fn choose(rules: &[StatisticsRule], namespace: &str, metric: &str) -> (Vec<String>, Duration) {
    let configured = rules.iter().find(|rule| rule.namespace.matches(namespace) && rule.metric.matches(metric));
    match configured {
        Some(rule) => {
            let statistics = rule.statistics.iter().map(Statistic::as_str).map(str::to_owned).collect();
            (statistics, rule.period.0)
        }
        None => {
            let choice = default_choice(namespace, metric);
            (choice.statistics.iter().map(|name| (*name).to_owned()).collect(), choice.period)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Glob, TimeSpan};

    #[test]
    fn a_listed_metric_the_rest_of_its_namespace_and_another_namespace() {
        assert_eq!(default_choice("AWS/Lambda", "Duration").statistics, TIME);
        assert_eq!(default_choice("AWS/Lambda", "Errors").statistics, SUM);
        assert_eq!(default_choice("Shop", "Orders").statistics, OTHER);
        assert_eq!(default_choice("AWS/S3", "NumberOfObjects").period, DAY);
    }

    #[test]
    fn every_table_says_what_holds_for_the_rest() {
        for namespace in [
            "Lambda",
            "DynamoDB",
            "SQS",
            "ApiGateway",
            "ECS",
            "RDS",
            "S3",
            "ApplicationELB",
            "Kinesis",
            "States",
            "SNS",
            "Events",
            "EC2",
        ] {
            let entries = table(&format!("AWS/{namespace}")).unwrap();
            assert_eq!(entries.last().unwrap().0, "*", "{namespace}");
        }
    }

    #[test]
    fn a_configured_rule_counts_first() {
        let rule = StatisticsRule {
            namespace: Glob::new("AWS/*"),
            metric: Glob::new("Err*"),
            statistics: vec![Statistic::try_new("SampleCount").unwrap()],
            period: TimeSpan::from_secs(300),
        };
        let (statistics, period) = choose(std::slice::from_ref(&rule), "AWS/Lambda", "Errors");
        assert_eq!((statistics, period), (vec!["SampleCount".to_owned()], Duration::from_secs(300)));
        assert_eq!(choose(&[rule], "AWS/Lambda", "Duration").0.len(), 3);
    }
}
