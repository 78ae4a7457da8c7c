//! docs/deploy.md against what is deployed: a value, an alert or a panel that comes, goes or changes takes its row along.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

/// What Helm itself puts among the values.
const OF_HELM: &str = "global";

fn read(file: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()))
}

fn page() -> String {
    read("docs/deploy.md")
}

/// What stands between two comments of the page.
fn section(page: &str, name: &str) -> String {
    let between = |page: &str| -> Option<String> {
        let (_, after) = page.split_once(&format!("<!-- {name}: begin -->\n"))?;
        Some(after.split_once(&format!("<!-- {name}: end -->"))?.0.trim().to_owned())
    };
    between(page).unwrap_or_else(|| panic!("docs/deploy.md has no section between <!-- {name}: begin --> and end"))
}

/// The first cells of a table's rows, without their code marks.
fn first_cells(table: &str) -> Vec<String> {
    let rows = table.lines().skip(2).filter_map(|row| row.split('|').nth(1));
    rows.map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
}

fn values() -> Value {
    serde_saphyr::from_str(&read("deploy/helm/tenure/values.yaml")).unwrap()
}

fn schema() -> Value {
    serde_json::from_str(&read("deploy/helm/tenure/values.schema.json")).unwrap()
}

/// Each value there is: its name, its default, and what it is for.
fn collect(at: &str, value: Option<&Value>, part: &Value, whole: &Value, inherited: &str, all: &mut Vec<[String; 3]>) {
    let part_of = part["$ref"].as_str().and_then(|to| whole.pointer(to.trim_start_matches('#'))).unwrap_or(part);
    let description = part["description"].as_str().unwrap_or(inherited);
    let Some(properties) = part_of["properties"].as_object() else {
        return all.push([at.to_owned(), shown(value), description.to_owned()]);
    };
    for (name, part) in properties.iter().filter(|(name, _)| *name != OF_HELM) {
        let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        collect(&at, value.and_then(|value| value.get(name)), part, whole, description, all);
    }
}

fn shown(default: Option<&Value>) -> String {
    match default {
        None => "none".to_owned(),
        Some(Value::String(text)) if text.contains('\n') => {
            "[values.yaml](../deploy/helm/tenure/values.yaml)".to_owned()
        }
        Some(Value::String(text)) if !text.is_empty() => format!("`{text}`"),
        Some(value) => format!("`{value}`"),
    }
}

fn all_rows() -> Vec<[String; 3]> {
    let (values, schema) = (values(), schema());
    let mut all = Vec::new();
    collect("", Some(&values), &schema, &schema, "", &mut all);
    all.sort();
    all
}

#[test]
fn the_table_of_values_is_what_the_chart_has() {
    let mut table = "| value | default | |\n|---|---|---|".to_owned();
    for [name, default, description] in all_rows() {
        write!(table, "\n| `{name}` | {default} | {description} |").unwrap();
    }
    assert!(section(&page(), "values") == table, "the table of values in docs/deploy.md has to be\n\n{table}\n");
}

#[test]
fn every_value_has_a_schema_with_a_description_and_a_default() {
    for [name, default, description] in all_rows() {
        assert!(!description.is_empty(), "values.schema.json does not say what {name} is for");
        // The one that is there to be refused.
        assert_eq!(default == "none", name == "resources.limits.cpu", "{name} has no default in values.yaml");
    }
}

#[test]
fn every_alert_has_a_row_that_says_what_to_do() {
    let alerts = read("deploy/kustomize/components/monitoring/alerts.yaml");
    let names: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(!names.is_empty());
    assert_eq!(first_cells(&section(&page(), "alerts")), names);
}

#[test]
fn every_panel_of_the_dashboard_has_a_row_that_says_how_to_read_it() {
    let dashboard: Value =
        serde_json::from_str(&read("deploy/kustomize/components/monitoring/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row");
    let titles: Vec<&str> = panels.map(|panel| panel["title"].as_str().unwrap()).collect();
    assert!(!titles.is_empty());
    assert_eq!(first_cells(&section(&page(), "dashboard")), titles);
}

#[test]
fn what_the_chart_has_a_copy_of_is_the_same() {
    for file in ["alerts.yaml", "dashboard.json"] {
        let (from, to) = ("deploy/kustomize/components/monitoring", "deploy/helm/tenure/files");
        assert!(read(&format!("{from}/{file}")) == read(&format!("{to}/{file}")), "cp {from}/{file} {to}/{file}");
    }
    let settings = values()["settings"].as_str().unwrap().to_owned();
    let kustomize = read("deploy/kustomize/base/tenure.toml");
    assert!(settings == kustomize, "`settings` in values.yaml is not deploy/kustomize/base/tenure.toml");
}

#[test]
fn the_chart_has_the_version_of_the_program() {
    let chart: Value = serde_saphyr::from_str(&read("deploy/helm/tenure/Chart.yaml")).unwrap();
    for key in ["version", "appVersion"] {
        assert_eq!(chart[key], env!("CARGO_PKG_VERSION"), "{key} in Chart.yaml");
    }
}
