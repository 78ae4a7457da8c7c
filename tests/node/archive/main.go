// archive puts a program, and files beside it, into an image of one layer, as an OCI archive. The same files give the same bytes.
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

type object = map[string]any

type layout struct {
	*tar.Writer
}

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: archive PROGRAM IMAGE-NAME[,IMAGE-NAME..] FILE [BESIDE..]")
		os.Exit(2)
	}
	if err := run(os.Args[1], strings.Split(os.Args[2], ","), os.Args[3], os.Args[4:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(program string, names []string, file string, beside []string) error {
	layer, err := layerOf(program, beside)
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
	if err := write(out, layer, "/"+filepath.Base(program), names); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Rename(half, file)
}

// The program is in the image's top folder, what is beside it where it is here.
func layerOf(program string, beside []string) ([]byte, error) {
	var layer bytes.Buffer
	writer := layout{tar.NewWriter(&layer)}
	if err := writer.copy(program, filepath.Base(program)); err != nil {
		return nil, err
	}
	for _, file := range beside {
		if err := writer.copy(file, strings.TrimPrefix(file, "/")); err != nil {
			return nil, err
		}
	}
	return layer.Bytes(), writer.Close()
}

func write(out io.Writer, layer []byte, entrypoint string, names []string) error {
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
	var manifests []object
	for _, name := range names {
		named := maps.Clone(manifest)
		named["annotations"] = object{"io.containerd.image.name": name}
		manifests = append(manifests, named)
	}
	index, err := json.Marshal(object{"schemaVersion": 2, "manifests": manifests})
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

func (it layout) copy(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return it.add(to, 0o755, content)
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
