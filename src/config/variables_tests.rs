//! The table is whole, and says what holds.

use super::*;
use crate::domain::credential::CREDENTIALS;

#[test]
fn the_table_is_consistent() {
    let mut names = std::collections::BTreeSet::new();
    for row in &VARIABLES {
        assert_eq!(row.variable.definition().name, row.name);
        assert_eq!(Variable::by_name(row.name), Some(row.variable));
        for name in [Some(row.name), row.alias].into_iter().flatten() {
            assert!(names.insert(name), "{name} stands twice");
            assert!(crate::secrets::envfile::is_key(name));
        }
        assert!(!row.doc.is_empty());
    }
    assert_eq!(Variable::by_name("name"), Some(Variable::Name));
    assert_eq!(Variable::by_name("TF_STATES"), None);
}

#[test]
fn every_credential_is_a_secret_of_the_table_in_the_same_order() {
    let credentials: Vec<&str> =
        VARIABLES.iter().filter(|row| row.group == CREDENTIAL).map(|row| row.name).collect();
    let expected: Vec<&str> = CREDENTIALS.iter().map(|c| c.variable).collect();
    assert_eq!(credentials, expected);
    for row in &VARIABLES {
        let others = [
            Variable::GatewayToken,
            Variable::ApiToken,
            Variable::EventsToken,
            Variable::DatabaseUrl,
            Variable::WebhookSecret,
            Variable::OwnServerAwsSecret,
            Variable::TunnelToken,
        ];
        let secret = row.group == CREDENTIAL || others.contains(&row.variable);
        assert_eq!(row.secret, secret, "{}", row.name);
    }
}

#[test]
fn the_defaults_that_stand_twice_agree() {
    assert_eq!(Variable::GatewayPort.definition().default, Text("18789"), "{DEFAULT_PORT}");
    assert_eq!(DEFAULT_PORT.to_string(), "18789");
    assert_eq!(DEFAULT_MEMORY_MIB.to_string(), "2048");
    assert_eq!(Variable::Memory.definition().default, Text("2048"));
}
