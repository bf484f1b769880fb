//! Names as YACE (yet-another-cloudwatch-exporter) makes them, so that its dashboards and rules carry over.

/// The series' name: `aws_lambda_errors_sum` for namespace `AWS/Lambda`, metric `Errors`, statistic `Sum`.
pub fn metric_name(namespace: &str, metric: &str, statistic: &str) -> String {
    let namespace = snake_case(&namespace.to_lowercase());
    // `/aws/sagemaker/TrainingJobs` begins with a slash.
    let namespace = namespace.strip_prefix('_').unwrap_or(&namespace);
    let mut metric_part = snake_case(metric);
    // Some metrics repeat their namespace: Glue's are named `glue.driver.…`.
    for part in namespace.split('_') {
        if let Some(rest) = metric_part.strip_prefix(part) {
            metric_part = rest.to_owned();
        }
    }
    let metric_part = metric_part.strip_prefix('_').unwrap_or(&metric_part);
    let prefix = if namespace.starts_with("aws") { "" } else { "aws_" };
    valid(&format!("{prefix}{namespace}_{metric_part}_{}", snake_case(statistic)))
}

/// The label of a dimension: `dimension_FunctionName`. YACE keeps the case.
pub fn dimension_label(dimension: &str) -> String {
    let mut label = String::with_capacity("dimension_".len() + dimension.len());
    label.push_str("dimension_");
    for c in dimension.chars() {
        match c {
            '%' => label.push_str("_percent"),
            c if is_separator(c) => label.push('_'),
            c => label.push(c),
        }
    }
    valid(&label)
}

/// `ConcurrentExecutions` → `concurrent_executions`, `4XXError` → `4_xxerror`.
fn snake_case(text: &str) -> String {
    let mut snake = String::with_capacity(text.len() + 8);
    let mut before: Option<char> = None;
    for c in text.chars() {
        match c {
            '%' => snake.push_str("_percent"),
            c if is_separator(c) => snake.push('_'),
            c => {
                let begins_word = c.is_uppercase() && before.is_some_and(|b| b.is_lowercase() || b.is_ascii_digit());
                if begins_word {
                    snake.push('_');
                }
                snake.extend(c.to_lowercase());
            }
        }
        before = Some(c);
    }
    snake
}

fn is_separator(c: char) -> bool {
    matches!(c, ' ' | ',' | '\t' | '/' | '\\' | '.' | '-' | ':' | '=' | '@' | '<' | '>' | '(' | ')' | '“')
}

/// YACE leaves out what is still no Prometheus name; here it becomes one, since nothing may be lost.
fn valid(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_yaces() {
        for (namespace, metric, statistic, expected) in [
            ("AWS/Lambda", "Errors", "Sum", "aws_lambda_errors_sum"),
            ("AWS/Lambda", "ConcurrentExecutions", "Maximum", "aws_lambda_concurrent_executions_maximum"),
            ("AWS/Lambda", "Duration", "p99", "aws_lambda_duration_p99"),
            ("AWS/Lambda", "Duration", "p99.9", "aws_lambda_duration_p99_9"),
            ("AWS/ApiGateway", "4XXError", "Sum", "aws_apigateway_4_xxerror_sum"),
            ("AWS/ApiGateway", "5XXError", "Average", "aws_apigateway_5_xxerror_average"),
            ("AWS/ApplicationELB", "HTTPCode_ELB_5XX_Count", "Sum", "aws_applicationelb_httpcode_elb_5_xx_count_sum"),
            ("AWS/DynamoDB", "ConsumedReadCapacityUnits", "Sum", "aws_dynamodb_consumed_read_capacity_units_sum"),
            (
                "AWS/SQS",
                "ApproximateAgeOfOldestMessage",
                "Maximum",
                "aws_sqs_approximate_age_of_oldest_message_maximum",
            ),
            ("AWS/EC2", "CPUUtilization", "Average", "aws_ec2_cpuutilization_average"),
            ("ECS/ContainerInsights", "CpuUtilized", "Average", "aws_ecs_containerinsights_cpu_utilized_average"),
            ("Glue", "glue.driver.aggregate.bytesRead", "Sum", "aws_glue_driver_aggregate_bytes_read_sum"),
            (
                "/aws/sagemaker/TrainingJobs",
                "CPUUtilization",
                "Average",
                "aws_sagemaker_trainingjobs_cpuutilization_average",
            ),
            ("CWAgent", "LogicalDisk % Free Space", "Average", "aws_cwagent_logical_disk__percent_free_space_average"),
            ("AWS/Lambda", "Duration", "TM(10%:90%)", "aws_lambda_duration_tm_10_percent_90_percent_"),
            ("Shop", "Orders*", "SampleCount", "aws_shop_orders__sample_count"),
        ] {
            assert_eq!(metric_name(namespace, metric, statistic), expected);
        }
    }

    #[test]
    fn dimensions_keep_their_case() {
        assert_eq!(dimension_label("FunctionName"), "dimension_FunctionName");
        assert_eq!(dimension_label("kafka.topic"), "dimension_kafka_topic");
        assert_eq!(dimension_label("a%b"), "dimension_a_percentb");
    }
}
