//! The contract in every language: one small guest each calls every function of the host, meets its errors and obeys the
//! cancellation, and all say the same. Their sources are in `tests/guests/languages`.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::{Options, Plugin, World, until_some};

/// A whole language runtime compiles for minutes where the machine has other things to do.
const COMPILE_LIMIT: Duration = Duration::from_secs(15 * 60);

/// Beyond the defaults, for CPython alone: the others fit them.
const PYTHON_LIMITS: &str = "artifact-bytes = \"32Mi\"\nmemory = \"128Mi\"\ncompile-memory = \"1Gi\"\n";

/// What the guests need of a host: time for one call to wait for the cancellation, and for compiling on a busy machine.
pub fn options() -> Options {
    let mut limits = "[limits]\nreconcile-timeout = \"10m\"\ncompile-timeout = \"15m\"\n".to_owned();
    if Plugin::languages().iter().any(|language| language == "python") {
        limits += PYTHON_LIMITS;
    }
    // Profile default: a term that ends while a transcript is told would have it told twice.
    Options { profile: "default", config: limits }
}

/// What a guest says of the host. Codes are those in the API server's Status; `-` is an error of the host's own.
fn transcript(term: u64) -> Vec<String> {
    let said = format!(
        "cause changed
settings hello, ä→😀
term {term}
cancelled false
wait false
clock true
random true
get true
get metadata true
get missing NotFound 404
get not granted Denied -
get subresource Denied -
get unknown kind NotFound -
list cached 3
list live 3
list by field 1
list everywhere 3
create dry ok
create strict BadRequest 400
create true
create again AlreadyExists 409
generated true
delete ok
replace ok
replace stale Conflict 409
patch merge ok
patch json ok
patch json again Invalid 422
apply Conflict 409
apply forced ok
apply other name BadRequest -
too large Limited -
event ok
delete changed Conflict 409
delete ok
delete again NotFound 404"
    );
    said.lines().map(str::to_owned).collect()
}

/// Every guest does everything there is to do, on a world of one replica, which ends with it.
pub async fn every_guest_says_the_same(mut world: World) {
    let languages = Plugin::languages();
    assert!(languages.len() >= 3, "guests in {languages:?} only");
    for language in &languages {
        world.drop_in(&world.language(language)).await;
    }
    for language in &languages {
        world.plugin_state_within(COMPILE_LIMIT, language, "running").await;
        tells_its_transcript(&mut world, language).await;
        comes_again(&world, language).await;
    }
    for language in &languages {
        does(&world, language, "wait").await;
        assert_eq!(told(&world, &format!("{language}-wait")).await, ["waiting"]);
    }
    let leader = world.leader().await;
    world.replica(&leader).signal(Signal::TERM);
    assert!(world.replica(&leader).ended().await.success());
    for language in &languages {
        let said = told(&world, &format!("{language}-wait")).await;
        assert_eq!(said, ["cancelled true"], "{language} heard that leadership ends, and could still write");
    }
    world.judged().await.assert_clean();
}

async fn tells_its_transcript(world: &mut World, language: &str) {
    let (name, namespace) = (format!("{language}-transcript"), world.names.work.clone());
    for number in 0..3 {
        let labels = json!({"part-of": format!("{namespace}.{name}")});
        let metadata = json!({"name": format!("{name}-part-{number}"), "namespace": namespace, "labels": labels});
        let data = json!({"value": "theirs"});
        let part = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
        world.apply_config_map(&part).await;
    }
    does(world, language, "transcript").await;
    let said = told(world, &name).await;
    assert_eq!(said, transcript(world.term().await.expect("a term")), "{language}");
    let event = world.event_on(&namespace, &name).await;
    assert_eq!(event, Some(format!("in {language}: ä→😀")));
    let leader = world.leader().await;
    // There is no `console` in a component that componentize-qjs makes.
    if language != "javascript" {
        world.replica(&leader).logged(&format!("printed by {language}")).await;
    }
    world.replica(&leader).logged(&format!("language={language} text=ä→😀")).await;
}

/// The error a guest returns, the wish to be called again, and the end of an object.
async fn comes_again(world: &World, language: &str) {
    does(world, language, "fail").await;
    assert_eq!(told(world, &format!("{language}-fail")).await, ["retried 1"]);
    does(world, language, "again").await;
    let name = format!("{language}-again");
    assert_eq!(told(world, &name).await, ["retried 0"]);
    world.delete_config_map(&world.names.work, &name).await;
    until_some(&format!("{language} to hear of the deletion"), || async {
        (lines(world, &name).await? == ["deleted again"]).then_some(())
    })
    .await;
}

/// Hands the guest a ConfigMap that says what to do with it.
async fn does(world: &World, language: &str, what: &str) {
    let name = format!("{language}-{what}");
    world.config_map(language, &world.names.work, &name, json!({"does": what})).await;
}

async fn told(world: &World, name: &str) -> Vec<String> {
    until_some(&format!("what is told of {name}"), || lines(world, name)).await
}

async fn lines(world: &World, name: &str) -> Option<Vec<String>> {
    let told = world.get_config_map(&world.names.work, &format!("{name}-told")).await?;
    let lines = told.data?.get("lines")?.clone();
    Some(lines.lines().map(str::to_owned).collect())
}
