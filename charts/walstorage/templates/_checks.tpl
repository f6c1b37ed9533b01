{{- /* What must hold before anything is installed, each with the remedy. `lookup` finds nothing in `helm template` and `--dry-run=client`. */ -}}

{{- define "walstorage.checkImage" -}}
{{- if not .Values.image.repository -}}
{{- $image := printf "registry.example.com/walstorage:%s" (include "walstorage.tag" .) -}}
{{- fail (printf `image.repository is not set, and has no default: the image is built from the checkout. With a registry that your cluster pulls from in place of registry.example.com, type

  buildah build -t %s .        # or: docker build -t %s .
  buildah push %s              # or: docker push %s
  helm upgrade --install %s charts/walstorage --namespace %s --create-namespace --set image.repository=registry.example.com/walstorage
` $image $image $image $image .Release.Name .Release.Namespace) -}}
{{- end -}}
{{- end -}}

{{- /* The release's own namespace may be made by helm, after this. */ -}}
{{- define "walstorage.checkNamespaces" -}}
{{- if lookup "v1" "Namespace" "" "kube-system" -}}
{{- $missing := list -}}
{{- range without .Values.namespaces .Release.Namespace -}}
{{- if not (lookup "v1" "Namespace" "" .) -}}
{{- $missing = append $missing . -}}
{{- end -}}
{{- end -}}
{{- with $missing -}}
{{- fail (printf "namespaces: the cluster has no %s; make it (kubectl create namespace NAME), or correct or remove the name." (join ", " .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* "true" where the object is there and belongs to another release, or to none. Takes a list: the root, the object. */ -}}
{{- define "walstorage.isForeign" -}}
{{- $root := index . 0 -}}
{{- with index . 1 -}}
{{- $labels := .metadata.labels | default dict -}}
{{- $annotations := .metadata.annotations | default dict -}}
{{- $byHelm := eq (get $labels "app.kubernetes.io/managed-by") "Helm" -}}
{{- $name := get $annotations "meta.helm.sh/release-name" -}}
{{- $namespace := get $annotations "meta.helm.sh/release-namespace" -}}
{{- if not (and $byHelm (eq $name $root.Release.Name) (eq $namespace $root.Release.Namespace)) -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Whose an object is, in words. */ -}}
{{- define "walstorage.owner" -}}
{{- $annotations := .metadata.annotations | default dict -}}
{{- $name := get $annotations "meta.helm.sh/release-name" -}}
{{- if $name -}}
the release {{ $name }} in the namespace {{ get $annotations "meta.helm.sh/release-namespace" }}
{{- else -}}
somebody without helm
{{- end -}}
{{- end -}}

{{- define "walstorage.checkOneOperator" -}}
{{- $name := include "walstorage.name" . -}}
{{- $found := lookup "admissionregistration.k8s.io/v1" "MutatingWebhookConfiguration" "" $name -}}
{{- if include "walstorage.isForeign" (list . $found) -}}
{{- fail (printf "One operator serves a cluster, and %s has installed one: upgrade that, or remove it first (helm uninstall leaves the WalStorages, claims and data)." (include "walstorage.owner" $found)) -}}
{{- end -}}
{{- end -}}

{{- /*
"true" where this release makes or changes the CRD. It doesn't where another made the same one: that happens after
`kubectl apply -f crds/walstorage.yaml`, and after an uninstall, which leaves it. Where another made a different one, the
release must own it first.
*/ -}}
{{- define "walstorage.installsCrd" -}}
{{- if .Values.crds.install -}}
{{- $name := include "walstorage.crdName" . -}}
{{- $found := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" $name -}}
{{- if include "walstorage.isForeign" (list . $found) -}}
{{- $ours := include "walstorage.crd" . | fromYaml -}}
{{- if ne (toJson $found.spec.versions) (toJson $ours.spec.versions) -}}
{{- fail (printf `The CRD %s is there already, made by %s, and it isn't the one of this chart. To hand it over to this release, with every WalStorage as it is, type

  kubectl label crd %s app.kubernetes.io/managed-by=Helm --overwrite
  kubectl annotate crd %s meta.helm.sh/release-name=%s meta.helm.sh/release-namespace=%s --overwrite

then the helm command again with --force-conflicts added. To go on with the CRD that is there: --set crds.install=false.
` $name (include "walstorage.owner" $found) $name $name .Release.Name .Release.Namespace) -}}
{{- end -}}
{{- else -}}
true
{{- end -}}
{{- end -}}
{{- end -}}
