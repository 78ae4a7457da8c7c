//! `cargo xtask long`: what takes too long for every commit.

use std::time::Duration;

use crate::cli::LongArgs;
use crate::kubectl::{self, Kubectl};
use crate::process;
use crate::steps::Steps;
use crate::workspace::{PURE_ROOMS, TEST_FEATURES, Workspace, in_ci};
use crate::{check, plugins, test};

const LIMIT: Duration = Duration::from_secs(2 * 60 * 60);

/// How many cases of each property; the usual is 256.
const PROPERTY_CASES: &str = "20000";

/// How many seeds of the random election; the usual is 200.
const RANDOM_SEEDS: &str = "20000";

/// `cargo xtask long`.
pub(crate) fn run(workspace: &Workspace, args: &LongArgs) -> anyhow::Result<()> {
    let mut steps = Steps::new(in_ci());
    check::deny(workspace, &mut steps)?;
    steps.step("properties", "the failing case is printed, with its seed", || {
        let mut cargo = workspace.cargo();
        cargo.args(["test", "--release"]).env("PROPTEST_CASES", PROPERTY_CASES).env("TENURE_SEEDS", RANDOM_SEEDS);
        for room in PURE_ROOMS {
            cargo.args(["--package", room]);
        }
        process::run(&mut cargo, LIMIT)
    })?;
    steps.step("wasm target", plugins::TARGET_ADVICE, || plugins::install_target(workspace))?;
    steps.step("plugins", plugins::BUILD_ADVICE, || plugins::build_for_tests(workspace))?;
    let kubectl = match steps.step("kubectl", "see what go says", || kubectl::provide(workspace))? {
        Kubectl::At(file) => Some(file),
        Kubectl::Missing(why) => {
            steps.skip("tests with kubectl", why);
            None
        }
    };
    steps.step("build", "see what the compiler says", || test::build(workspace))?;
    let advice = "a test that fails in one round of many races with something: find out with what";
    steps.step("whole-host tests, repeated", advice, || {
        for round in 1..=args.rounds {
            println!("    round {round} of {}", args.rounds);
            let mut cargo = workspace.cargo();
            // The whole workspace is selected, so that nothing is built anew; only the whole-host tests are named.
            cargo.args(["test", "--workspace", "--features", TEST_FEATURES, "--test", "*"]);
            test::set_stage(workspace, &mut cargo, kubectl.as_deref());
            process::run(&mut cargo, LIMIT)?;
        }
        Ok(())
    })?;
    steps.finish()
}
