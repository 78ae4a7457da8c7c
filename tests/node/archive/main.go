// archive puts one static program into an image of one layer, as an OCI archive. The same program gives the same bytes.
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

type object = map[string]any

type layout struct {
	*tar.Writer
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: archive PROGRAM IMAGE-NAME FILE")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(program, name, file string) error {
	layer, err := layerOf(program)
	if err != nil {
		return err
	}
	// Under another name first: an archive that is in place is whole.
	half := file + ".half"
	out, err := os.Create(half)
	if err != nil {
		return err
	}
	defer os.Remove(half)
	if err := write(out, layer, "/"+filepath.Base(program), name); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Rename(half, file)
}

func layerOf(program string) ([]byte, error) {
	content, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	var layer bytes.Buffer
	writer := layout{tar.NewWriter(&layer)}
	if err := writer.add(filepath.Base(program), 0o755, content); err != nil {
		return nil, err
	}
	return layer.Bytes(), writer.Close()
}

func write(out io.Writer, layer []byte, entrypoint, name string) error {
	writer := layout{tar.NewWriter(out)}
	layerDescriptor, err := writer.addBlob("application/vnd.oci.image.layer.v1.tar", layer)
	if err != nil {
		return err
	}
	config, err := writer.addJSON("application/vnd.oci.image.config.v1+json", object{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": object{"Entrypoint": []string{entrypoint}, "User": "65532:65532"},
		"rootfs": object{"type": "layers", "diff_ids": []any{layerDescriptor["digest"]}},
	})
	if err != nil {
		return err
	}
	manifest, err := writer.addJSON("application/vnd.oci.image.manifest.v1+json", object{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": config, "layers": []object{layerDescriptor},
	})
	if err != nil {
		return err
	}
	manifest["annotations"] = object{"io.containerd.image.name": name}
	index, err := json.Marshal(object{"schemaVersion": 2, "manifests": []object{manifest}})
	if err != nil {
		return err
	}
	if err := writer.add("index.json", 0o644, index); err != nil {
		return err
	}
	if err := writer.add("oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	return writer.Close()
}

func (it layout) addJSON(kind string, content object) (object, error) {
	text, err := json.Marshal(content)
	if err != nil {
		return nil, err
	}
	return it.addBlob(kind, text)
}

func (it layout) addBlob(kind string, content []byte) (object, error) {
	digest := fmt.Sprintf("%x", sha256.Sum256(content))
	err := it.add("blobs/sha256/"+digest, 0o644, content)
	return object{"mediaType": kind, "digest": "sha256:" + digest, "size": len(content)}, err
}

func (it layout) add(name string, mode int64, content []byte) error {
	header := &tar.Header{Name: name, Mode: mode, Size: int64(len(content)), Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
	if err := it.WriteHeader(header); err != nil {
		return err
	}
	_, err := it.Write(content)
	return err
}
