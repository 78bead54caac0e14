//! The JSON Schema of the report, generated from the types and committed as `docs/report.schema.json`.

use super::model::Report;

/// The schema as indented JSON with a final newline, exactly as it is committed.
#[must_use]
pub fn schema() -> String {
    let schema = schemars::schema_for!(Report);
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is plain data");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::{inconclusive, sample};
    use crate::report::sample_herd::{cascade, herd};
    use std::path::Path;

    /// `STRESSCTL_BLESS=1 cargo test --lib report::schema` writes the file anew; read the difference before
    /// committing it: keys are only ever added.
    #[test]
    fn the_committed_schema_is_the_generated_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/report.schema.json");
        if std::env::var_os("STRESSCTL_BLESS").is_some() {
            std::fs::write(&path, schema()).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap();
        assert!(committed == schema(), "docs/report.schema.json is out of date: run with STRESSCTL_BLESS=1");
    }

    #[test]
    fn reports_follow_the_schema() {
        let validator = jsonschema::validator_for(&serde_json::from_str(&schema()).unwrap()).unwrap();
        for report in [sample(), herd(), cascade(), inconclusive(), Report::default()] {
            let value = serde_json::to_value(report).unwrap();
            let errors: Vec<_> = validator.iter_errors(&value).map(|e| e.to_string()).collect();
            assert_eq!(errors, Vec::<String>::new());
        }
    }

    #[test]
    fn the_schema_refuses_what_is_no_report() {
        let validator = jsonschema::validator_for(&serde_json::from_str(&schema()).unwrap()).unwrap();
        let mut value = serde_json::to_value(sample()).unwrap();
        value["ledger"]["lost"] = "none".into();
        assert!(!validator.is_valid(&value));
    }
}
