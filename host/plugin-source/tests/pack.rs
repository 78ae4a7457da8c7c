//! Packing: what comes out, what fits, what is refused.

use expect_test::expect;
use serde_json::Value;
use tenure_plugin_source::{Compression, OBJECT_BYTES_MAX, PackError, PackOptions, pack};

const MANIFEST: &str = "name = \"greeter\"\n\n[[watch]]\napi-version = \"v1\"\nkind = \"ConfigMap\"\n";

fn options(name: &str) -> PackOptions {
    PackOptions {
        namespace: "tenure-plugins".to_owned(),
        name: name.to_owned(),
        compression: Compression::None,
        signature: None,
    }
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 7_u32;
    let mut wasm = b"\0asm".to_vec();
    wasm.resize_with(bytes, || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    wasm
}

fn names(objects: &[Value]) -> Vec<&str> {
    objects.iter().filter_map(|object| object["metadata"]["name"].as_str()).collect()
}

#[test]
fn a_small_plugin_is_one_object() {
    let objects = pack(MANIFEST, b"\0asm", options("greeter")).expect("packs");
    expect![[r#"
        [
          {
            "apiVersion": "v1",
            "binaryData": {
              "plugin.wasm": "AGFzbQ=="
            },
            "data": {
              "plugin.toml": "name = \"greeter\"\n\n[[watch]]\napi-version = \"v1\"\nkind = \"ConfigMap\"\n"
            },
            "kind": "ConfigMap",
            "metadata": {
              "labels": {
                "tenure.dev/plugin": "true"
              },
              "name": "greeter",
              "namespace": "tenure-plugins"
            }
          }
        ]"#]]
    .assert_eq(&serde_json::to_string_pretty(&objects).expect("JSON"));
}

#[test]
fn a_signature_stands_beside_the_manifest_and_what_is_none_is_not_packed() {
    let signature = "untrusted comment: x\nRUQlV8VgCddMtfyKQc3zhn0UicQr3xfjiNhlgKmgHaLJDPRZSaGWMPGWpet2bbYGverC/WLO8H5CVWsjaBLvMUDODRfYzWSOewE=\n\
                     trusted comment: by a test\nC2tGDSX0tucg5NStrEAcuIC5/ak/lFRZnBgf7Uj4xyB24t8o/Ii5DlApq76oGom1/h9M1hCp0yQ2BzYc9ZaRDA==\n";
    let signed = |text: &str| PackOptions { signature: Some(text.to_owned()), ..options("greeter") };
    for wasm in [b"\0asm".to_vec(), noise(500 * 1024)] {
        let objects = pack(MANIFEST, &wasm, signed(signature)).expect("packs");
        let head = objects.last().expect("a head");
        assert_eq!(head["data"]["plugin.wasm.minisig"], signature);
    }
    assert!(matches!(pack(MANIFEST, b"\0asm", signed("x")), Err(PackError::NotASignature)));
}

#[test]
fn a_large_plugin_is_chunks_and_then_the_head_each_small_enough_for_kubectl_apply() {
    let wasm = noise(500 * 1024);
    let objects = pack(MANIFEST, &wasm, options("greeter")).expect("packs");
    expect![[
        r#"["greeter-31133070d3af8bca-0", "greeter-31133070d3af8bca-1", "greeter-31133070d3af8bca-2", "greeter"]"#
    ]]
    .assert_eq(&format!("{:?}", names(&objects)));
    for object in &objects {
        assert!(object.to_string().len() < OBJECT_BYTES_MAX);
    }
    assert_eq!(objects[0]["metadata"]["labels"]["tenure.dev/plugin-chunk"], "true");
}

#[test]
fn the_example_plugins_manifests_can_be_packed() {
    for manifest in [
        include_str!("../../../plugins/label-propagator/plugin.toml"),
        include_str!("../../../plugins/configmap-replicator/plugin.toml"),
    ] {
        pack(manifest, b"\0asm", options("example")).expect("packs");
    }
}

#[test]
fn every_size_around_the_boundary_fits() {
    for bytes in (178 * 1024..184 * 1024).step_by(512) {
        for object in pack(MANIFEST, &noise(bytes), options(&"n".repeat(200))).expect("packs") {
            assert!(object.to_string().len() < OBJECT_BYTES_MAX, "{bytes}");
        }
    }
}

#[test]
fn the_same_input_gives_the_same_objects() {
    for compression in [Compression::Zstd, Compression::Gzip, Compression::None] {
        let once =
            || pack(MANIFEST, &noise(300 * 1024), PackOptions { compression, ..options("greeter") }).expect("packs");
        assert_eq!(once(), once(), "{compression:?}");
    }
}

#[test]
fn what_cannot_be_packed_says_why() {
    let refused = |manifest: &str, wasm: &[u8], name: &str| pack(manifest, wasm, options(name)).expect_err("refused");
    assert!(matches!(refused(MANIFEST, b"\0asm", &"n".repeat(201)), PackError::NameTooLong { chars: 201, max: 200 }));
    for name in ["", "Greeter", "a/b", "a_b", "-a", "..", "a\n"] {
        assert!(matches!(refused(MANIFEST, b"\0asm", name), PackError::Name(_)), "{name:?}");
    }
    assert!(matches!(refused("name = ", b"\0asm", "greeter"), PackError::Manifest(_)));
    assert!(matches!(refused(MANIFEST, b"MZ", "greeter"), PackError::NotWasm));
    let packed = format!("{MANIFEST}\n[[chunk]]\nname = \"a\"\nsha256 = \"{}\"\n", "0".repeat(64));
    assert!(matches!(refused(&packed, b"\0asm", "greeter"), PackError::AlreadyPacked));
    let wordy = format!("{MANIFEST}\n[settings]\ntext = \"{}\"\n", "x".repeat(OBJECT_BYTES_MAX));
    assert!(matches!(refused(&wordy, b"\0asm", "greeter"), PackError::ManifestTooLarge { .. }));
}
