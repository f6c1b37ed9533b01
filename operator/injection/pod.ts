/**
 * A pod as an admission request carries it: the fields that injection looks at or sets. Whatever else a pod has is kept
 * by spreading the objects, so that fields of a newer Kubernetes survive.
 */

export interface PodMetadata {
  /** Absent where the API server is yet to make it from `generateName`, after admission. */
  readonly name?: string;
  readonly generateName?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface EnvVar {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: object;
}

export interface VolumeMount {
  readonly name: string;
  readonly mountPath: string;
  readonly subPath?: string;
  readonly subPathExpr?: string;
  readonly readOnly?: boolean;
}

export interface ContainerSecurityContext {
  readonly runAsUser?: number;
  readonly runAsGroup?: number;
  readonly runAsNonRoot?: boolean;
  readonly allowPrivilegeEscalation?: boolean;
  readonly readOnlyRootFilesystem?: boolean;
  readonly capabilities?: { readonly drop?: readonly string[] };
  readonly seccompProfile?: { readonly type: string };
}

export type ResourceList = Readonly<Record<string, number | string>>;

export interface Resources {
  readonly limits?: ResourceList;
  readonly requests?: ResourceList;
}

export interface Probe {
  readonly httpGet?: { readonly path: string; readonly port: number; readonly scheme?: string };
  readonly periodSeconds?: number;
  readonly timeoutSeconds?: number;
  readonly successThreshold?: number;
  readonly failureThreshold?: number;
}

export interface ContainerPort {
  readonly name?: string;
  readonly containerPort: number;
  readonly protocol?: string;
}

export interface Container {
  readonly name: string;
  readonly image?: string;
  readonly args?: readonly string[];
  readonly restartPolicy?: string;
  readonly env?: readonly EnvVar[];
  readonly ports?: readonly ContainerPort[];
  readonly resources?: Resources;
  readonly startupProbe?: Probe;
  readonly readinessProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly securityContext?: ContainerSecurityContext;
  readonly terminationMessagePolicy?: string;
  readonly volumeMounts?: readonly VolumeMount[];
}

/** A volume of a pod: exactly one of the sources. */
export interface VolumeSource {
  readonly name: string;
  readonly configMap?: object;
  readonly downwardAPI?: object;
  readonly emptyDir?: object;
  readonly ephemeral?: object;
  readonly hostPath?: object;
  readonly image?: object;
  readonly persistentVolumeClaim?: { readonly claimName: string; readonly readOnly?: boolean };
  readonly projected?: object;
  readonly secret?: object;
}

export interface PodSpec {
  readonly containers: readonly Container[];
  readonly initContainers?: readonly Container[];
  readonly volumes?: readonly VolumeSource[];
  readonly securityContext?: {
    readonly runAsUser?: number;
    readonly runAsGroup?: number;
    readonly fsGroup?: number;
  };
  readonly terminationGracePeriodSeconds?: number;
  readonly hostNetwork?: boolean;
  readonly nodeSelector?: Readonly<Record<string, string>>;
  readonly os?: { readonly name?: string };
}

export interface AdmittedPod {
  readonly metadata: PodMetadata;
  readonly spec: PodSpec;
}
