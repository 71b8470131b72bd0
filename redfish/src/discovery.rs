//! Which of the systems behind one address is meant.
//!
//! Pure: it chooses among systems that were already read. A named system always wins, with one
//! exception: the name "1", which is the default of the API, is not insisted upon when it does not
//! exist and exactly one system can be booted.

use crate::model::System;

/// The id that an untouched Machine carries.
const DEFAULT_ID: &str = "1";

/// Why no system could be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SystemRefusal {
    /// The named system does not exist; these do.
    NotFound { wanted: String, found: Vec<String> },
    /// None can be booted; these exist.
    NoneBootable { found: Vec<String> },
    /// Several can be booted and none was named.
    Ambiguous { candidates: Vec<String> },
}

/// Chooses the system to work on. Bootable is a system that shows a boot override; a baseboard or
/// a card behind the same address does not.
pub fn choose_system<'a>(
    wanted: Option<&str>,
    systems: &'a [System],
) -> Result<&'a System, SystemRefusal> {
    if let Some(wanted) = wanted {
        if let Some(system) = systems.iter().find(|system| system.id == wanted) {
            return Ok(system);
        }
        if wanted != DEFAULT_ID {
            return Err(SystemRefusal::NotFound {
                wanted: wanted.to_owned(),
                found: ids(systems),
            });
        }
    }
    let mut bootable = systems.iter().filter(|system| system.is_bootable());
    match (bootable.next(), bootable.next()) {
        (Some(system), None) => Ok(system),
        (Some(_), Some(_)) => Err(match wanted {
            Some(wanted) => SystemRefusal::NotFound {
                wanted: wanted.to_owned(),
                found: ids(systems),
            },
            None => SystemRefusal::Ambiguous {
                candidates: systems
                    .iter()
                    .filter(|system| system.is_bootable())
                    .map(|system| system.id.clone())
                    .collect(),
            },
        }),
        (None, _) => Err(SystemRefusal::NoneBootable {
            found: ids(systems),
        }),
    }
}

fn ids(systems: &[System]) -> Vec<String> {
    systems.iter().map(|system| system.id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn system(id: &str, bootable: bool) -> System {
        let mut body = json!({"@odata.id": format!("/redfish/v1/Systems/{id}"), "Id": id});
        if bootable {
            body["Boot"] = json!({"BootSourceOverrideTarget": "None"});
        }
        System::parse(&body, None).unwrap()
    }

    #[test]
    fn baseboard_in_front_is_skipped() {
        let systems = [system("HGX_Baseboard_0", false), system("DGX", true)];
        assert_eq!(choose_system(None, &systems).unwrap().id, "DGX");
    }

    #[test]
    fn default_name_that_does_not_exist_is_forgiven_when_the_choice_is_clear() {
        let systems = [system("System.Embedded.1", true)];
        assert_eq!(
            choose_system(Some("1"), &systems).unwrap().id,
            "System.Embedded.1"
        );
        assert!(matches!(
            choose_system(Some("2"), &systems),
            Err(SystemRefusal::NotFound { .. })
        ));
    }

    #[test]
    fn named_system_wins_even_when_it_shows_no_override() {
        let systems = [system("a", true), system("b", false)];
        assert_eq!(choose_system(Some("b"), &systems).unwrap().id, "b");
    }

    #[test]
    fn several_systems_need_a_name() {
        let systems = [system("a", true), system("b", true)];
        assert_eq!(
            choose_system(None, &systems),
            Err(SystemRefusal::Ambiguous {
                candidates: vec!["a".into(), "b".into()]
            })
        );
        assert!(matches!(
            choose_system(Some("1"), &systems),
            Err(SystemRefusal::NotFound { .. })
        ));
        assert!(matches!(
            choose_system(None, &[]),
            Err(SystemRefusal::NoneBootable { .. })
        ));
    }
}
