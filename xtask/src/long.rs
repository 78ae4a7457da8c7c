//! `cargo xtask long`: what takes too long for every commit.

use std::time::Duration;

use crate::cli::{FuzzArgs, LongArgs};
use crate::process;
use crate::steps::Steps;
use crate::workspace::{PURE_ROOMS, TEST_FEATURES, Workspace, in_ci};
use crate::{check, fuzz, image, languages, mutations, plugins, simulate, test};

const LIMIT: Duration = Duration::from_secs(2 * 60 * 60);

/// How many cases of each property; the usual is 256.
const PROPERTY_CASES: &str = "20000";

/// How much of the simulated elections, from fresh seeds.
const SIMULATED_HOURS: f64 = 20_000.0;

/// Of each fuzz target.
const FUZZ_SECONDS: u32 = 10 * 60;

/// `cargo xtask long`.
pub(crate) fn run(workspace: &Workspace, args: &LongArgs) -> anyhow::Result<()> {
    let mut steps = Steps::new(in_ci());
    check::deny(workspace, &mut steps)?;
    steps.step("properties", "the failing case is printed, with its seed", || {
        let mut cargo = workspace.cargo();
        cargo.args(["test", "--release"]).env("PROPTEST_CASES", PROPERTY_CASES);
        for room in PURE_ROOMS {
            cargo.args(["--package", room]);
        }
        process::run(&mut cargo, LIMIT)
    })?;
    steps.step("simulated elections", simulate::ADVICE, || simulate::swarm(workspace, SIMULATED_HOURS))?;
    steps.step("exhaustive model", "the path to the state that is wrong is printed", || {
        let mut cargo = workspace.cargo();
        cargo.args(["test", "--release", "--package", "tenure-simulator", "--test", "exhaustive"]);
        process::run(cargo.args(["--", "--include-ignored", "--nocapture", "--test-threads", "1"]), LIMIT)
    })?;
    let advice = "write the scenario that notices, or find out why the rule does nothing";
    steps.step("each rule taken out", advice, || mutations::run(workspace, ""))?;
    fuzz::all(workspace, &mut steps, &FuzzArgs { target: None, seconds: FUZZ_SECONDS })?;
    steps.step("wasm target", plugins::TARGET_ADVICE, || plugins::install_target(workspace))?;
    steps.step("plugins", plugins::BUILD_ADVICE, || plugins::build_for_tests(workspace))?;
    let programs = test::kubernetes(workspace, &mut steps)?;
    steps.step("build", "see what the compiler says", || test::build(workspace))?;
    let advice = "a test that fails in one round of many races with something: find out with what";
    steps.step("whole-host tests, repeated", advice, || {
        for round in 1..=args.rounds {
            println!("    round {round} of {}", args.rounds);
            let mut cargo = workspace.cargo();
            // The whole workspace is selected, so that nothing is built anew; only the whole-host tests are named.
            cargo.args(["test", "--workspace", "--features", TEST_FEATURES, "--test", "*"]);
            test::set_stage(workspace, &mut cargo, &programs);
            process::run(&mut cargo, LIMIT)?;
        }
        Ok(())
    })?;
    steps.step("a plugin with 100 000 keys", "the plugins share a queue or a thread that they should not", || {
        let mut cargo = workspace.cargo();
        cargo.args(["test", "--workspace", "--features", TEST_FEATURES, "--test", "fairness", "--", "--ignored"]);
        test::set_stage(workspace, &mut cargo, &programs);
        process::run(&mut cargo, LIMIT)
    })?;
    let built = languages::build(workspace, &mut steps)?;
    steps.step("the contract in every language", languages::ADVICE, || {
        let mut cargo = workspace.cargo();
        cargo.args(["test", "--workspace", "--features", TEST_FEATURES, "--test", "languages", "--test", "real"]);
        test::set_stage(workspace, &mut cargo, &programs);
        process::run(cargo.arg("a_guest_of_each_language").env("TENURE_LANGUAGES", &built), LIMIT)
    })?;
    image::test(workspace, &mut steps, &programs)?;
    match image::missing(true) {
        Some(missing) => steps.skip("image, twice", missing),
        None => steps.step("image, twice", image::ADVICE, || image::make_twice(workspace))?,
    }
    steps.finish()
}
